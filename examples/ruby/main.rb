# frozen_string_literal: true

# Stores a 👍 on a call and reads it back: `ruby main.rb TARGET`;
# or plays a conversation: `ruby main.rb TARGET CONVERSATION`.

require 'json'
require_relative 'conversation'
require_relative 'plaudit'

include Plaudit::V1

PROJECT = 'acme/chat'
REF = 'weave:///acme/chat/call/0192'

def thumbs_up(stub)
  feedback = Feedback.new(
    id: Plaudit.new_id, ref: REF, feedback_type: 'wandb.reaction.1', payload_json: JSON.generate(emoji: '👍')
  )
  stored = stub.create_feedback(CreateFeedbackRequest.new(project: PROJECT, feedback: feedback)).feedback
  puts "stored #{stored.id} #{stored.payload_json}"

  on_ref = Comparison.new(
    op: :COMPARISON_OP_EQ,
    left: Expression.new(field: 'ref'),
    right: Expression.new(literal: Literal.new(string_value: REF))
  )
  request = QueryFeedbackRequest.new(project: PROJECT, query: Query.new(expr: Expression.new(comparison: on_ref)))
  loop do
    page = stub.query_feedback(request)
    page.feedback.each { |found| puts "found #{found.feedback_type} #{found.payload_json}" }
    request.page_token = page.next_page_token
    break if request.page_token.empty?
  end
end

target, conversation = ARGV
abort 'usage: ruby main.rb TARGET [CONVERSATION]' unless target
channel = Plaudit.connect(target)
begin
  if conversation
    services = [FeedbackService, AnalyticsService, DefinitionService]
    stubs = services.to_h { |service| [service.name.split('::').last, Plaudit.stub(service, channel)] }
    Conversation.new(stubs).play(conversation)
  else
    thumbs_up(Plaudit.stub(FeedbackService, channel))
  end
rescue GRPC::BadStatus => e
  abort "#{e.message}\n#{Plaudit.explain(e.to_rpc_status) if e.to_rpc_status}"
end
