package dev.plaudit.examples;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.ErrorDetailsProto;
import dev.plaudit.v1.AnalyticsServiceGrpc;
import dev.plaudit.v1.BatchCreateFeedbackResponse;
import dev.plaudit.v1.DefinitionServiceGrpc;
import dev.plaudit.v1.FeedbackServiceGrpc;
import dev.plaudit.v1.IngestFeedbackResponse;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.PrototypeMarshaller;
import io.grpc.ServiceDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.StreamObserver;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Plays a conversation with the server; docs/polyglot.md explains the parts of its steps. */
final class Conversation {
  private static final Pattern VARIABLE = Pattern.compile("\\$\\{([\\w.]+)\\}");
  private static final Map<String, ServiceDescriptor> SERVICES =
      Map.of(
          "FeedbackService", FeedbackServiceGrpc.getServiceDescriptor(),
          "AnalyticsService", AnalyticsServiceGrpc.getServiceDescriptor(),
          "DefinitionService", DefinitionServiceGrpc.getServiceDescriptor());
  private static final Gson GSON = new Gson();
  private static final JsonFormat.Printer PRINTER =
      JsonFormat.printer()
          .usingTypeRegistry(
              JsonFormat.TypeRegistry.newBuilder()
                  .add(ErrorDetailsProto.getDescriptor().getMessageTypes())
                  .build());

  private final Channel channel;
  private final Map<String, String> variables =
      new HashMap<>(Map.of("project", "polyglot/java-" + Plaudit.newId()));

  Conversation(Channel channel) {
    this.channel = channel;
  }

  void play(Path path) throws IOException {
    var steps = JsonParser.parseString(Files.readString(path)).getAsJsonObject().getAsJsonArray("steps");
    for (JsonElement step : steps) {
      play(JsonParser.parseString(substitute(step.toString())).getAsJsonObject());
      System.out.println("ok: " + step.getAsJsonObject().get("step").getAsString());
    }
    System.out.println(steps.size() + " steps, all as expected");
  }

  /** Replaces variables by their values; one named id.… is a new UUIDv7 at its first use. */
  private String substitute(String text) {
    return VARIABLE
        .matcher(text)
        .replaceAll(
            found -> {
              String name = found.group(1);
              if (name.startsWith("id.")) {
                variables.computeIfAbsent(name, unused -> Plaudit.newId());
              }
              return Matcher.quoteReplacement(variables.get(name));
            });
  }

  private void play(JsonObject step) throws InvalidProtocolBufferException {
    JsonElement answer;
    try {
      answer = call(step);
    } catch (StatusRuntimeException error) {
      if (!step.has("refused")) {
        throw error;
      }
      answer = new JsonObject();
      answer.getAsJsonObject().add("refused", explained(StatusProto.fromThrowable(error)));
    }
    JsonElement expected = step.get("expect");
    if (step.has("refused")) {
      expected = new JsonObject();
      expected.getAsJsonObject().add("refused", step.get("refused"));
    }
    String wrong = difference(expected, answer, "answer");
    if (wrong != null) {
      throw new IllegalStateException(step.get("step").getAsString() + ": " + wrong);
    }
    if (step.has("keep")) {
      for (var kept : step.getAsJsonObject("keep").entrySet()) {
        variables.put(kept.getKey(), at(answer, kept.getValue().getAsString()).getAsString());
      }
    }
  }

  private JsonElement call(JsonObject step) throws InvalidProtocolBufferException {
    MethodDescriptor<Message, Message> method = method(step);
    var options = CallOptions.DEFAULT.withDeadlineAfter(Plaudit.DEADLINE_SECONDS, TimeUnit.SECONDS);
    return switch (method.getType()) {
      case UNARY -> json(ClientCalls.blockingUnaryCall(channel, method, options, request(method, step.get("send"))));
      case SERVER_STREAMING -> collect(method, options, step);
      case BIDI_STREAMING -> converse(method, options, step.getAsJsonArray("send"));
      default -> throw new IllegalArgumentException("no such kind of call: " + method.getType());
    };
  }

  /** Sends all messages, then waits for all answers. */
  private JsonArray converse(MethodDescriptor<Message, Message> method, CallOptions options, JsonArray messages)
      throws InvalidProtocolBufferException {
    var answers = new JsonArray();
    var done = new CompletableFuture<JsonArray>();
    var requests =
        ClientCalls.asyncBidiStreamingCall(
            channel.newCall(method, options),
            new StreamObserver<Message>() {
              @Override
              public void onNext(Message message) {
                answers.add(json(message));
              }

              @Override
              public void onError(Throwable error) {
                done.completeExceptionally(error);
              }

              @Override
              public void onCompleted() {
                done.complete(answers);
              }
            });
    for (JsonElement message : messages) {
      requests.onNext(request(method, message));
    }
    requests.onCompleted();
    try {
      return done.join();
    } catch (CompletionException failed) {
      throw (StatusRuntimeException) failed.getCause();
    }
  }

  /** Reads as many elements as are expected from a stream, then cancels it. */
  private JsonArray collect(MethodDescriptor<Message, Message> method, CallOptions options, JsonObject step)
      throws InvalidProtocolBufferException {
    var field = step.get("collect").getAsString();
    int count = step.has("expect") ? step.getAsJsonArray("expect").size() : 1;
    var request = request(method, step.get("send"));
    var answer = new JsonArray();
    try (var context = Context.current().withCancellation()) {
      var before = context.attach();
      try {
        var messages = ClientCalls.blockingServerStreamingCall(channel, method, options, request);
        while (answer.size() < count && messages.hasNext()) {
          var elements = json(messages.next()).getAsJsonObject().getAsJsonArray(field);
          answer.addAll(elements == null ? new JsonArray() : elements);
        }
      } finally {
        context.detach(before);
      }
    }
    return answer;
  }

  @SuppressWarnings("unchecked") // Every message of a service is a Message.
  private static MethodDescriptor<Message, Message> method(JsonObject step) {
    var service = step.has("service") ? step.get("service").getAsString() : "FeedbackService";
    var name = step.get("call").getAsString();
    return SERVICES.get(service).getMethods().stream()
        .filter(method -> name.equals(method.getBareMethodName()))
        .map(method -> (MethodDescriptor<Message, Message>) method)
        .findFirst()
        .orElseThrow();
  }

  private static Message request(MethodDescriptor<Message, Message> method, JsonElement json)
      throws InvalidProtocolBufferException {
    var marshaller = (PrototypeMarshaller<Message>) method.getRequestMarshaller();
    var builder = marshaller.getMessagePrototype().newBuilderForType();
    JsonFormat.parser().merge(json.toString(), builder);
    return builder.build();
  }

  /** A message in the JSON mapping; the statuses of single records become refusals. */
  private static JsonElement json(Message message) {
    JsonElement answer;
    try {
      answer = JsonParser.parseString(PRINTER.print(message));
    } catch (InvalidProtocolBufferException unknownDetail) {
      throw new IllegalStateException(unknownDetail);
    }
    if (message instanceof BatchCreateFeedbackResponse batch) {
      explain(answer, "results", batch.getResultsList().stream().map(r -> r.hasStatus() ? r.getStatus() : null).toList());
    } else if (message instanceof IngestFeedbackResponse ingest) {
      explain(answer, "rejected", ingest.getRejectedList().stream().map(r -> r.getStatus()).toList());
    }
    return answer;
  }

  private static void explain(JsonElement answer, String list, List<com.google.rpc.Status> statuses) {
    for (int n = 0; n < statuses.size(); n++) {
      if (statuses.get(n) != null) {
        at(answer, list + "." + n).getAsJsonObject().add("status", explained(statuses.get(n)));
      }
    }
  }

  private static JsonElement explained(com.google.rpc.Status status) {
    var refusal = Plaudit.explain(status);
    var json = new JsonObject();
    json.addProperty("code", refusal.code().name());
    json.addProperty("reason", refusal.reason());
    json.add("metadata", GSON.toJsonTree(refusal.metadata()));
    json.add("fields", GSON.toJsonTree(refusal.fields()));
    if (refusal.retryDelay() != null) {
      json.addProperty("retryDelay", refusal.retryDelay().toString());
    }
    return json;
  }

  /** The value at a path such as feedback.0.id. */
  private static JsonElement at(JsonElement value, String path) {
    for (String part : path.split("\\.")) {
      value = value.isJsonArray() ? value.getAsJsonArray().get(Integer.parseInt(part)) : value.getAsJsonObject().get(part);
    }
    return value;
  }

  /** Where an answer is not as expected, otherwise null. Null means absent, "*" anything; other keys are allowed. */
  private static String difference(JsonElement expected, JsonElement actual, String path) {
    String wrong = path + ": expected " + expected + ", got " + actual;
    if (expected == null || expected instanceof JsonNull) {
      return actual == null ? null : wrong;
    } else if (actual == null) {
      return wrong;
    } else if (expected.isJsonObject() && actual.isJsonObject()) {
      for (var field : expected.getAsJsonObject().entrySet()) {
        var found = difference(field.getValue(), actual.getAsJsonObject().get(field.getKey()), path + "." + field.getKey());
        if (found != null) {
          return found;
        }
      }
      return null;
    } else if (expected.isJsonArray() && actual.isJsonArray()) {
      var list = expected.getAsJsonArray();
      if (list.size() != actual.getAsJsonArray().size()) {
        return wrong;
      }
      for (int n = 0; n < list.size(); n++) {
        var found = difference(list.get(n), actual.getAsJsonArray().get(n), path + "." + n);
        if (found != null) {
          return found;
        }
      }
      return null;
    } else if (expected.isJsonPrimitive() && expected.getAsJsonPrimitive().isString() && expected.getAsString().equals("*")) {
      return null;
    }
    return expected.equals(actual) ? null : wrong;
  }
}
