#include "plaudit.h"

#include <google/rpc/error_details.pb.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>

#include "service_config.h"

namespace plaudit {

std::shared_ptr<grpc::Channel> Connect(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kServiceConfig);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

std::string NewId() {
  static thread_local std::random_device device;
  std::uniform_int_distribution<uint64_t> any;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const uint64_t milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const uint64_t high = milliseconds << 16 | 0x7000 | (any(device) & 0xfff);
  const uint64_t low = uint64_t{0b10} << 62 | any(device) >> 2;
  char text[37];
  std::snprintf(text, sizeof text, "%08x-%04x-%04x-%04x-%012llx", static_cast<unsigned>(high >> 32),
                static_cast<unsigned>(high >> 16 & 0xffff), static_cast<unsigned>(high & 0xffff),
                static_cast<unsigned>(low >> 48), static_cast<unsigned long long>(low & 0xffffffffffff));
  return text;
}

void SetDeadline(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
}

namespace {

std::string CodeName(int code) {
  static constexpr const char* kNames[] = {
      "OK",                  "CANCELLED",         "UNKNOWN",       "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED", "NOT_FOUND",
      "ALREADY_EXISTS",      "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",      "OUT_OF_RANGE",
      "UNIMPLEMENTED",       "INTERNAL",          "UNAVAILABLE",   "DATA_LOSS",          "UNAUTHENTICATED"};
  return code >= 0 && code < 17 ? kNames[code] : std::to_string(code);
}

}  // namespace

Refusal Explain(const google::rpc::Status& status) {
  Refusal refusal;
  refusal.code = CodeName(status.code());
  for (const auto& detail : status.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&info)) {
      refusal.reason = info.reason();
      refusal.metadata = {info.metadata().begin(), info.metadata().end()};
    } else if (detail.UnpackTo(&bad)) {
      for (const auto& violation : bad.field_violations()) refusal.fields.push_back(violation.field());
      std::sort(refusal.fields.begin(), refusal.fields.end());
    } else if (detail.UnpackTo(&retry)) {
      refusal.retry_delay_seconds = retry.retry_delay().seconds() + retry.retry_delay().nanos() / 1e9;
    }
  }
  return refusal;
}

Refusal Explain(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());  // Empty when gRPC itself refused the call.
  details.set_code(status.error_code());
  return Explain(details);
}

}  // namespace plaudit
