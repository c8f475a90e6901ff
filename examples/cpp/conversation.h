#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

// Plays the conversation of a file in a project of its own; throws at the first answer that is not as expected.
// docs/polyglot.md explains the parts of its steps.
void PlayConversation(const std::shared_ptr<grpc::Channel>& channel, const std::string& path);
