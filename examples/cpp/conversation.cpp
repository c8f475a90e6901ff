#include "conversation.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>

#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <optional>
#include <regex>
#include <stdexcept>

#include "plaudit.h"
#include "plaudit/v1/analytics_service.grpc.pb.h"
#include "plaudit/v1/definition_service.grpc.pb.h"
#include "plaudit/v1/feedback_service.grpc.pb.h"

namespace {

namespace v1 = plaudit::v1;
using google::protobuf::Message;
using google::protobuf::Value;
using Channel = std::shared_ptr<grpc::Channel>;
using Feedback = v1::FeedbackService;
using Analytics = v1::AnalyticsService;
using Definitions = v1::DefinitionService;

struct Refused {
  grpc::Status status;
};

// ── JSON, as google.protobuf.Value ──

std::string Text(const Message& message) {
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text);
  if (!status.ok()) throw std::runtime_error(status.ToString());
  return text;
}

template <class T>
T Parse(const std::string& text) {
  T message;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &message);
  if (!status.ok()) throw std::runtime_error(status.ToString());
  return message;
}

const Value* Get(const Value& value, const std::string& key) {
  const auto& fields = value.struct_value().fields();
  const auto found = fields.find(key);
  return found == fields.end() ? nullptr : &found->second;
}

Value& Field(Value* value, const std::string& key) { return (*value->mutable_struct_value()->mutable_fields())[key]; }

Value StringValue(const std::string& text) {
  Value value;
  value.set_string_value(text);
  return value;
}

Value Explained(const plaudit::Refusal& refusal) {
  Value json;
  Field(&json, "code") = StringValue(refusal.code);
  Field(&json, "reason") = StringValue(refusal.reason);
  for (const auto& [key, value] : refusal.metadata) Field(&Field(&json, "metadata"), key) = StringValue(value);
  for (const auto& field : refusal.fields) {
    *Field(&json, "fields").mutable_list_value()->add_values() = StringValue(field);
  }
  if (refusal.retry_delay_seconds) Field(&json, "retryDelay").set_number_value(*refusal.retry_delay_seconds);
  return json;
}

// A response in the JSON mapping; the statuses of single records become refusals.
template <class T>
Value Json(const T& message) {
  Value answer = Parse<Value>(Text(message));
  if constexpr (std::is_same_v<T, v1::BatchCreateFeedbackResponse>) {
    for (int n = 0; n < message.results_size(); ++n) {
      if (!message.results(n).has_status()) continue;
      auto* result = Field(&answer, "results").mutable_list_value()->mutable_values(n);
      Field(result, "status") = Explained(plaudit::Explain(message.results(n).status()));
    }
  } else if constexpr (std::is_same_v<T, v1::IngestFeedbackResponse>) {
    for (int n = 0; n < message.rejected_size(); ++n) {
      auto* rejected = Field(&answer, "rejected").mutable_list_value()->mutable_values(n);
      Field(rejected, "status") = Explained(plaudit::Explain(message.rejected(n).status()));
    }
  }
  return answer;
}

// Where an answer is not as expected. Null means absent, "*" anything; other keys are allowed.
std::optional<std::string> Difference(const Value& expected, const Value* actual, const std::string& path) {
  const auto wrong = [&] {
    return path + ": expected " + Text(expected) + ", got " + (actual == nullptr ? "nothing" : Text(*actual));
  };
  if (expected.has_null_value()) return actual == nullptr ? std::nullopt : std::optional(wrong());
  if (actual == nullptr) return wrong();
  if (expected.string_value() == "*") return std::nullopt;
  if (expected.kind_case() != actual->kind_case()) return wrong();
  if (expected.has_struct_value()) {
    for (const auto& [key, value] : expected.struct_value().fields()) {
      if (auto found = Difference(value, Get(*actual, key), path + "." + key)) return found;
    }
    return std::nullopt;
  }
  if (expected.has_list_value()) {
    const auto& list = actual->list_value();
    if (expected.list_value().values_size() != list.values_size()) return wrong();
    for (int n = 0; n < list.values_size(); ++n) {
      if (auto found = Difference(expected.list_value().values(n), &list.values(n), path + "." + std::to_string(n))) {
        return found;
      }
    }
    return std::nullopt;
  }
  return google::protobuf::util::MessageDifferencer::Equals(expected, *actual) ? std::nullopt : std::optional(wrong());
}

// ── Calls ──

template <class Service, class Request, class Response>
using UnaryMethod = grpc::Status (Service::Stub::*)(grpc::ClientContext*, const Request&, Response*);
template <class Service, class Request, class Response>
using ServerStream = std::unique_ptr<grpc::ClientReader<Response>> (Service::Stub::*)(grpc::ClientContext*, const Request&);
template <class Service, class Request, class Response>
using BothStream = std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> (Service::Stub::*)(grpc::ClientContext*);
using Call = std::function<Value(const Channel&, const Value& step)>;

template <class Service, class Request, class Response>
Call Unary(UnaryMethod<Service, Request, Response> method) {
  return [method](const Channel& channel, const Value& step) {
    const auto stub = Service::NewStub(channel);  // Cheap: the channel is what is costly, and is shared.
    grpc::ClientContext context;
    plaudit::SetDeadline(&context);
    Response response;
    const auto status = (*stub.*method)(&context, Parse<Request>(Text(*Get(step, "send"))), &response);
    if (!status.ok()) throw Refused{status};
    return Json(response);
  };
}

// Reads as many elements as are expected from a stream, then cancels it.
template <class Service, class Request, class Response>
Call Collect(ServerStream<Service, Request, Response> method) {
  return [method](const Channel& channel, const Value& step) {
    const auto stub = Service::NewStub(channel);
    grpc::ClientContext context;
    plaudit::SetDeadline(&context);
    const auto stream = (*stub.*method)(&context, Parse<Request>(Text(*Get(step, "send"))));
    const auto* expected = Get(step, "expect");
    const int count = expected == nullptr ? 1 : expected->list_value().values_size();
    Value answer;
    auto* elements = answer.mutable_list_value()->mutable_values();
    Response response;
    while (elements->size() < count && stream->Read(&response)) {
      const Value json = Json(response);
      if (const auto* found = Get(json, Get(step, "collect")->string_value())) {
        elements->MergeFrom(found->list_value().values());
      }
    }
    const bool enough = elements->size() >= count;
    if (enough) context.TryCancel();
    const auto status = stream->Finish();
    if (!enough && !status.ok()) throw Refused{status};
    return answer;
  };
}

// Sends all messages, then reads all answers.
template <class Service, class Request, class Response>
Call Converse(BothStream<Service, Request, Response> method) {
  return [method](const Channel& channel, const Value& step) {
    const auto stub = Service::NewStub(channel);
    grpc::ClientContext context;
    plaudit::SetDeadline(&context);
    const auto stream = (*stub.*method)(&context);
    for (const auto& message : Get(step, "send")->list_value().values()) {
      if (!stream->Write(Parse<Request>(Text(message)))) break;  // The server has ended it; Finish returns the reason.
    }
    stream->WritesDone();
    Value answer;
    answer.mutable_list_value();
    Response response;
    while (stream->Read(&response)) *answer.mutable_list_value()->add_values() = Json(response);
    const auto status = stream->Finish();
    if (!status.ok()) throw Refused{status};
    return answer;
  };
}

const std::map<std::string, Call>& Calls() {
  static const std::map<std::string, Call> calls = {
      {"CreateFeedback", Unary<Feedback, v1::CreateFeedbackRequest, v1::CreateFeedbackResponse>(&Feedback::Stub::CreateFeedback)},
      {"BatchCreateFeedback", Unary<Feedback, v1::BatchCreateFeedbackRequest, v1::BatchCreateFeedbackResponse>(&Feedback::Stub::BatchCreateFeedback)},
      {"GetFeedback", Unary<Feedback, v1::GetFeedbackRequest, v1::GetFeedbackResponse>(&Feedback::Stub::GetFeedback)},
      {"QueryFeedback", Unary<Feedback, v1::QueryFeedbackRequest, v1::QueryFeedbackResponse>(&Feedback::Stub::QueryFeedback)},
      {"CountFeedback", Unary<Feedback, v1::CountFeedbackRequest, v1::CountFeedbackResponse>(&Feedback::Stub::CountFeedback)},
      {"ListRefs", Unary<Feedback, v1::ListRefsRequest, v1::ListRefsResponse>(&Feedback::Stub::ListRefs)},
      {"ReplaceFeedback", Unary<Feedback, v1::ReplaceFeedbackRequest, v1::ReplaceFeedbackResponse>(&Feedback::Stub::ReplaceFeedback)},
      {"PurgeFeedback", Unary<Feedback, v1::PurgeFeedbackRequest, v1::PurgeFeedbackResponse>(&Feedback::Stub::PurgeFeedback)},
      {"ListFeedbackVersions", Unary<Feedback, v1::ListFeedbackVersionsRequest, v1::ListFeedbackVersionsResponse>(&Feedback::Stub::ListFeedbackVersions)},
      {"GetServerInfo", Unary<Feedback, v1::GetServerInfoRequest, v1::GetServerInfoResponse>(&Feedback::Stub::GetServerInfo)},
      {"SetReaction", Unary<Feedback, v1::SetReactionRequest, v1::SetReactionResponse>(&Feedback::Stub::SetReaction)},
      {"StreamFeedback", Collect<Feedback, v1::StreamFeedbackRequest, v1::StreamFeedbackResponse>(&Feedback::Stub::StreamFeedback)},
      {"WatchFeedback", Collect<Feedback, v1::WatchFeedbackRequest, v1::WatchFeedbackResponse>(&Feedback::Stub::WatchFeedback)},
      {"IngestFeedback", Converse<Feedback, v1::IngestFeedbackRequest, v1::IngestFeedbackResponse>(&Feedback::Stub::IngestFeedback)},
      {"AggregateFeedback", Unary<Analytics, v1::AggregateFeedbackRequest, v1::AggregateFeedbackResponse>(&Analytics::Stub::AggregateFeedback)},
      {"SummarizeRefs", Unary<Analytics, v1::SummarizeRefsRequest, v1::SummarizeRefsResponse>(&Analytics::Stub::SummarizeRefs)},
      {"PutDefinition", Unary<Definitions, v1::PutDefinitionRequest, v1::PutDefinitionResponse>(&Definitions::Stub::PutDefinition)},
  };
  return calls;
}

// ── Steps ──

// Replaces variables by their values; one named id.… is a new UUIDv7 at its first use.
std::string Substitute(const std::string& text, std::map<std::string, std::string>* variables) {
  static const std::regex kVariable(R"(\$\{([\w.]+)\})");
  std::string result;
  auto rest = text.cbegin();
  for (std::sregex_iterator found(text.begin(), text.end(), kVariable), end; found != end; ++found) {
    const std::string name = (*found)[1];
    if (name.rfind("id.", 0) == 0 && variables->count(name) == 0) (*variables)[name] = plaudit::NewId();
    result.append(rest, (*found)[0].first).append(variables->at(name));
    rest = (*found)[0].second;
  }
  return result.append(rest, text.cend());
}

// The text at a path such as feedback.0.id.
std::string At(const Value& answer, const std::string& path) {
  const Value* value = &answer;
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '.');) {
    value = value->has_list_value() ? &value->list_value().values(std::stoi(part)) : Get(*value, part);
  }
  return value->string_value();
}

void PlayStep(const Channel& channel, const Value& step, std::map<std::string, std::string>* variables) {
  Value answer;
  try {
    answer = Calls().at(Get(step, "call")->string_value())(channel, step);
  } catch (const Refused& refused) {
    Field(&answer, "refused") = Explained(plaudit::Explain(refused.status));
  }
  Value expected;
  if (const auto* refused = Get(step, "refused")) {
    Field(&expected, "refused") = *refused;
  } else {
    expected = *Get(step, "expect");
  }
  if (const auto wrong = Difference(expected, &answer, "answer")) throw std::runtime_error(*wrong);
  if (const auto* keep = Get(step, "keep")) {
    for (const auto& [name, path] : keep->struct_value().fields()) (*variables)[name] = At(answer, path.string_value());
  }
}

}  // namespace

void PlayConversation(const std::shared_ptr<grpc::Channel>& channel, const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto conversation = Parse<Value>(text);
  const auto& steps = Get(conversation, "steps")->list_value().values();
  std::map<std::string, std::string> variables = {{"project", "polyglot/cpp-" + plaudit::NewId()}};
  for (const auto& step : steps) {
    const std::string& name = Get(step, "step")->string_value();
    try {
      PlayStep(channel, Parse<Value>(Substitute(Text(step), &variables)), &variables);
    } catch (const std::exception& error) {
      throw std::runtime_error(name + ": " + error.what());
    }
    std::cout << "ok: " << name << "\n";
  }
  std::cout << steps.size() << " steps, all as expected\n";
}
