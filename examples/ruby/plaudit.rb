# frozen_string_literal: true

# What a client of plaudit needs: a channel, stubs, ids, and the details of errors.

$LOAD_PATH.unshift File.expand_path('gen', __dir__)

require 'google/protobuf/well_known_types'
require 'google/rpc/code_pb'
require 'google/rpc/error_details_pb'
require 'grpc'
require 'plaudit/v1/analytics_service_services_pb'
require 'plaudit/v1/definition_service_services_pb'
require 'plaudit/v1/feedback_service_services_pb'
require 'securerandom'

module Plaudit
  # The time for every call, including its retries.
  DEADLINE_SECONDS = 20

  # Configures which calls gRPC retries, when, and how often.
  SERVICE_CONFIG = File.read(File.expand_path('../../proto/plaudit/v1/feedback_grpc_service_config.json', __dir__))

  # The details of a status; `retry_delay` is nil when the server gave no time to wait.
  Refusal = Struct.new(:code, :reason, :metadata, :fields, :retry_delay)

  module_function

  # The one channel that a program needs; it is safe to share.
  def connect(target)
    GRPC::Core::Channel.new(target, { 'grpc.service_config' => SERVICE_CONFIG }, :this_channel_is_insecure)
  end

  # The stub of a service, such as V1::FeedbackService; it is safe to share.
  def stub(service, channel)
    service::Stub.new(nil, nil, channel_override: channel, timeout: DEADLINE_SECONDS)
  end

  # The id of a record, a UUIDv7. Every retry is safe because the client makes it, not the server.
  def new_id
    return SecureRandom.uuid_v7 if SecureRandom.respond_to?(:uuid_v7)

    milliseconds = Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond)
    high = milliseconds << 16 | 0x7000 | SecureRandom.random_number(1 << 12)
    low = 0b10 << 62 | SecureRandom.random_number(1 << 62)
    format('%032x', high << 64 | low).sub(/(.{8})(.{4})(.{4})(.{4})(.{12})/, '\1-\2-\3-\4-\5')
  end

  # The details of a Google::Rpc::Status: of one record, or of a call's error by its `to_rpc_status`.
  def explain(status)
    refusal = Refusal.new(Google::Rpc::Code.lookup(status.code).to_s, '', {}, [], nil)
    status.details.each do |detail|
      if detail.is(Google::Rpc::ErrorInfo)
        info = detail.unpack(Google::Rpc::ErrorInfo)
        refusal.reason = info.reason
        refusal.metadata = info.metadata.to_h
      elsif detail.is(Google::Rpc::BadRequest)
        refusal.fields = detail.unpack(Google::Rpc::BadRequest).field_violations.map(&:field).sort
      elsif detail.is(Google::Rpc::RetryInfo)
        delay = detail.unpack(Google::Rpc::RetryInfo).retry_delay
        refusal.retry_delay = delay.seconds + delay.nanos / 1e9
      end
    end
    refusal
  end
end
