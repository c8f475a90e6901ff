// What a client of plaudit needs: a channel, ids, a deadline, and the details of errors.
#pragma once

#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace plaudit {

// The one channel that a program needs; it is safe to share. The service config configures its retries.
std::shared_ptr<grpc::Channel> Connect(const std::string& target);

// The id of a record, a UUIDv7. Every retry is safe because the client makes it, not the server.
std::string NewId();

// Gives a call ten seconds, its retries included.
void SetDeadline(grpc::ClientContext* context);

// The details of a status.
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
