package dev.plaudit.examples;

import com.google.gson.Gson;
import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.util.List;
import java.util.Map;
import java.util.UUID;

/** What a client of plaudit needs: a channel, ids, and the details of errors. */
final class Plaudit {
  /** The time for every unary call, including its retries. */
  static final long DEADLINE_SECONDS = 20;

  private static final SecureRandom RANDOM = new SecureRandom();

  private Plaudit() {}

  /** The one channel that a program needs; it is safe to share. The service config configures its retries. */
  static ManagedChannel connect(String target) throws IOException {
    try (var config = Plaudit.class.getResourceAsStream("/feedback_grpc_service_config.json")) {
      @SuppressWarnings("unchecked")
      Map<String, ?> serviceConfig =
          new Gson().fromJson(new InputStreamReader(config, StandardCharsets.UTF_8), Map.class);
      return Grpc.newChannelBuilder(target, InsecureChannelCredentials.create())
          .defaultServiceConfig(serviceConfig)
          .build();
    }
  }

  /** The id of a record, a UUIDv7. Every retry is safe because the client makes it, not the server. */
  static String newId() {
    long high = System.currentTimeMillis() << 16 | 0x7000 | RANDOM.nextInt(1 << 12);
    long low = RANDOM.nextLong() >>> 2 | 1L << 63;
    return new UUID(high, low).toString();
  }

  /** The details of a status; retryDelay is null when the server gave no time to wait. */
  record Refusal(
      com.google.rpc.Code code, String reason, Map<String, String> metadata, List<String> fields, Duration retryDelay) {}

  /** The details of a status: of one record, or of a call's error by StatusProto.fromThrowable. */
  static Refusal explain(Status status) {
    String reason = "";
    Map<String, String> metadata = Map.of();
    List<String> fields = List.of();
    Duration retryDelay = null;
    try {
      for (Any detail : status.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          var info = detail.unpack(ErrorInfo.class);
          reason = info.getReason();
          metadata = info.getMetadataMap();
        } else if (detail.is(BadRequest.class)) {
          var violations = detail.unpack(BadRequest.class).getFieldViolationsList();
          fields = violations.stream().map(BadRequest.FieldViolation::getField).sorted().toList();
        } else if (detail.is(RetryInfo.class)) {
          retryDelay = detail.unpack(RetryInfo.class).getRetryDelay();
        }
      }
    } catch (InvalidProtocolBufferException broken) {
      throw new IllegalArgumentException("details that are not what they say", broken);
    }
    return new Refusal(com.google.rpc.Code.forNumber(status.getCode()), reason, metadata, fields, retryDelay);
  }
}
