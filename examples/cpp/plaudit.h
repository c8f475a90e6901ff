// What a program needs to talk to plaudit: a channel, ids, a deadline, and what errors say.
#pragma once

#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace plaudit {

// The one channel that a program needs; it is safe to share. The service config tells it what to retry.
std::shared_ptr<grpc::Channel> Connect(const std::string& target);

// The id of a record, a UUIDv7. Made here and not by the server, it makes every retry safe.
std::string NewId();

// Gives a call ten seconds, its retries included.
void SetDeadline(grpc::ClientContext* context);

// What the details of a status say.
struct Refusal {
  std::string code;
  std::string reason;
  std::map<std::string, std::string> metadata;
  std::vector<std::string> fields;
  std::optional<double> retry_delay_seconds;
};

Refusal Explain(const google::rpc::Status& status);  // of one record
Refusal Explain(const grpc::Status& status);         // of a call

}  // namespace plaudit
