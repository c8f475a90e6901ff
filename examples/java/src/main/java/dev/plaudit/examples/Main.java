package dev.plaudit.examples;

import com.google.gson.JsonObject;
import dev.plaudit.v1.Comparison;
import dev.plaudit.v1.ComparisonOp;
import dev.plaudit.v1.CreateFeedbackRequest;
import dev.plaudit.v1.Expression;
import dev.plaudit.v1.Feedback;
import dev.plaudit.v1.FeedbackServiceGrpc;
import dev.plaudit.v1.Literal;
import dev.plaudit.v1.Query;
import dev.plaudit.v1.QueryFeedbackRequest;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;

/** Stores a 👍 on a call and reads it back; or, given a conversation, plays it. */
public final class Main {
  private static final String PROJECT = "acme/chat";
  private static final String REF = "weave:///acme/chat/call/0192";

  private Main() {}

  private static void thumbsUp(ManagedChannel channel) {
    var stub =
        FeedbackServiceGrpc.newBlockingStub(channel)
            .withDeadlineAfter(Plaudit.DEADLINE_SECONDS, TimeUnit.SECONDS);

    var payload = new JsonObject();
    payload.addProperty("emoji", "👍");
    var feedback =
        Feedback.newBuilder()
            .setId(Plaudit.newId())
            .setRef(REF)
            .setFeedbackType("wandb.reaction.1")
            .setPayloadJson(payload.toString());
    var stored =
        stub.createFeedback(
                CreateFeedbackRequest.newBuilder().setProject(PROJECT).setFeedback(feedback).build())
            .getFeedback();
    System.out.println("stored " + stored.getId() + " " + stored.getPayloadJson());

    var onRef =
        Comparison.newBuilder()
            .setOp(ComparisonOp.COMPARISON_OP_EQ)
            .setLeft(Expression.newBuilder().setField("ref"))
            .setRight(Expression.newBuilder().setLiteral(Literal.newBuilder().setStringValue(REF)));
    var request =
        QueryFeedbackRequest.newBuilder()
            .setProject(PROJECT)
            .setQuery(Query.newBuilder().setExpr(Expression.newBuilder().setComparison(onRef)));
    do {
      var page = stub.queryFeedback(request.build());
      for (Feedback found : page.getFeedbackList()) {
        System.out.println("found " + found.getFeedbackType() + " " + found.getPayloadJson());
      }
      request.setPageToken(page.getNextPageToken());
    } while (!request.getPageToken().isEmpty());
  }

  public static void main(String[] arguments) throws Exception {
    if (arguments.length == 0) {
      System.err.println("usage: Main TARGET [CONVERSATION]");
      System.exit(2);
    }
    var channel = Plaudit.connect(arguments[0]);
    try {
      if (arguments.length > 1) {
        new Conversation(channel).play(Path.of(arguments[1]));
      } else {
        thumbsUp(channel);
      }
    } catch (StatusRuntimeException error) {
      System.err.println(error.getMessage() + "\n" + Plaudit.explain(StatusProto.fromThrowable(error)));
      System.exit(1);
    } finally {
      channel.shutdownNow();
    }
  }
}
