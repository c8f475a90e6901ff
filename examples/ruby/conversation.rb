# frozen_string_literal: true

require 'json'
require_relative 'plaudit'

# Plays a conversation with the server; docs/polyglot.md explains the parts of its steps.
class Conversation
  VARIABLE = /\$\{([\w.]+)\}/

  def initialize(stubs)
    @stubs = stubs
    @variables = { 'project' => "polyglot/ruby-#{Plaudit.new_id}" }
    # A variable named id.… is a new UUIDv7 at its first use.
    @variables.default_proc = ->(variables, name) { variables[name] = Plaudit.new_id if name.start_with?('id.') }
  end

  def play(path)
    steps = JSON.parse(File.read(path, encoding: 'UTF-8'))['steps']
    steps.each do |step|
      play_step(JSON.parse(JSON.generate(step).gsub(VARIABLE) { @variables[Regexp.last_match(1)] }))
      puts "ok: #{step['step']}"
    end
    puts "#{steps.size} steps, all as expected"
  end

  private

  def play_step(step)
    begin
      answer = call(step)
    rescue GRPC::BadStatus => e
      status = e.to_rpc_status || Google::Rpc::Status.new(code: e.code)
      answer = { 'refused' => explained(status) }
    end
    expected = step.key?('refused') ? { 'refused' => step['refused'] } : step['expect']
    wrong = difference(expected, answer)
    raise "#{step['step']}: #{wrong}" if wrong

    step.fetch('keep', {}).each do |name, path|
      @variables[name] = path.split('.').reduce(answer) { |value, part| value.is_a?(Array) ? value[part.to_i] : value[part] }
    end
  end

  def call(step)
    stub = @stubs[step.fetch('service', 'FeedbackService')]
    method = step['call'].gsub(/(?<!^)([A-Z])/, '_\1').downcase.to_sym
    type = Plaudit::V1.const_get("#{step['call']}Request")
    send = step['send']
    return stub.public_send(method, send.map { |json| request(type, json) }).map { |message| json(message) } if send.is_a?(Array)

    return json(stub.public_send(method, request(type, send))) unless step['collect']

    operation = stub.public_send(method, request(type, send), return_op: true)
    collect(operation, step['collect'], (step['expect'] || [nil]).size)
  end

  # The first elements of a field in the messages of the stream; then the call is cancelled.
  def collect(operation, field, count)
    elements = []
    operation.execute.each do |message|
      elements.concat(json(message).fetch(field, []))
      break if elements.size >= count
    end
    operation.cancel
    elements
  end

  def request(type, json)
    type.decode_json(JSON.generate(json))
  end

  # A message in the JSON mapping; the statuses of single records become refusals.
  def json(message)
    answer = JSON.parse(message.class.encode_json(message))
    case message
    when Plaudit::V1::BatchCreateFeedbackResponse
      message.results.each_with_index { |result, n| answer['results'][n]['status'] = explained(result.status) if result.status }
    when Plaudit::V1::IngestFeedbackResponse
      message.rejected.each_with_index { |rejected, n| answer['rejected'][n]['status'] = explained(rejected.status) }
    end
    answer
  end

  def explained(status)
    refusal = Plaudit.explain(status)
    { 'code' => refusal.code, 'reason' => refusal.reason, 'metadata' => refusal.metadata, 'fields' => refusal.fields,
      'retryDelay' => refusal.retry_delay }.compact
  end

  # Where an answer is not as expected, otherwise nil. nil means absent, "*" anything; other keys are allowed.
  def difference(expected, actual, path = 'answer')
    wrong = "#{path}: expected #{expected.inspect}, got #{actual.inspect}"
    return (actual.nil? == expected.nil? ? nil : wrong) if expected.nil? || expected == '*'

    case expected
    when Hash
      return wrong unless actual.is_a?(Hash)

      expected.lazy.filter_map { |key, value| difference(value, actual[key], "#{path}.#{key}") }.first
    when Array
      return wrong unless actual.is_a?(Array) && actual.size == expected.size

      expected.each_with_index.lazy.filter_map { |value, n| difference(value, actual[n], "#{path}.#{n}") }.first
    else
      expected == actual ? nil : wrong
    end
  end
end
