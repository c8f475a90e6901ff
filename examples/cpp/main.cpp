// Stores a 👍 on a call and reads it back; or, given a conversation, plays it.
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <iostream>
#include <stdexcept>

#include "conversation.h"
#include "plaudit.h"
#include "plaudit/v1/feedback_service.grpc.pb.h"

namespace {

namespace v1 = plaudit::v1;

constexpr char kProject[] = "acme/chat";
constexpr char kRef[] = "weave:///acme/chat/call/0192";

void Check(const grpc::Status& status) {
  if (status.ok()) return;
  std::string message = status.error_message() + " (" + plaudit::Explain(status).reason + ")";
  for (const auto& field : plaudit::Explain(status).fields) message += " " + field;
  throw std::runtime_error(message);
}

void ThumbsUp(const std::shared_ptr<grpc::Channel>& channel) {
  auto stub = v1::FeedbackService::NewStub(channel);

  google::protobuf::Struct payload;
  (*payload.mutable_fields())["emoji"].set_string_value("👍");
  v1::CreateFeedbackRequest create;
  create.set_project(kProject);
  create.mutable_feedback()->set_id(plaudit::NewId());
  create.mutable_feedback()->set_ref(kRef);
  create.mutable_feedback()->set_feedback_type("wandb.reaction.1");
  google::protobuf::util::MessageToJsonString(payload, create.mutable_feedback()->mutable_payload_json());
  v1::CreateFeedbackResponse created;
  {
    grpc::ClientContext context;
    plaudit::SetDeadline(&context);
    Check(stub->CreateFeedback(&context, create, &created));
  }
  std::cout << "stored " << created.feedback().id() << " " << created.feedback().payload_json() << "\n";

  v1::QueryFeedbackRequest query;
  query.set_project(kProject);
  auto* on_ref = query.mutable_query()->mutable_expr()->mutable_comparison();
  on_ref->set_op(v1::COMPARISON_OP_EQ);
  on_ref->mutable_left()->set_field("ref");
  on_ref->mutable_right()->mutable_literal()->set_string_value(kRef);
  do {
    grpc::ClientContext context;
    plaudit::SetDeadline(&context);
    v1::QueryFeedbackResponse page;
    Check(stub->QueryFeedback(&context, query, &page));
    for (const auto& found : page.feedback()) {
      std::cout << "found " << found.feedback_type() << " " << found.payload_json() << "\n";
    }
    query.set_page_token(page.next_page_token());
  } while (!query.page_token().empty());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: plaudit-example TARGET [CONVERSATION]\n";
    return 2;
  }
  try {
    auto channel = plaudit::Connect(argv[1]);
    if (argc > 2) {
      PlayConversation(channel, argv[2]);
    } else {
      ThumbsUp(channel);
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
