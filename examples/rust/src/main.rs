//! Stores a 👍 on a call and reads it back; or, given a conversation, plays it.

mod conversation;
mod plaudit;

use std::{env, error::Error, process::ExitCode, time::Duration};

use tonic::{Request, Status, transport::Channel};
use tonic_types::StatusExt;

use plaudit::{
    Refusal, Retries, new_id,
    v1::{
        Comparison, ComparisonOp, CreateFeedbackRequest, Expression, Feedback, Literal, Query, QueryFeedbackRequest,
        expression::Kind, feedback_service_client::FeedbackServiceClient, literal,
    },
};

const PROJECT: &str = "acme/chat";
const REF: &str = "weave:///acme/chat/call/0192";

/// A request with a `timeout` that the server applies as well.
fn within<T>(timeout: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn expression(kind: Kind) -> Option<Box<Expression>> {
    Some(Box::new(Expression { kind: Some(kind) }))
}

async fn thumbs_up(channel: Channel) -> Result<(), Status> {
    let client = FeedbackServiceClient::new(channel);
    let create = CreateFeedbackRequest {
        project: PROJECT.into(),
        feedback: Some(Feedback {
            id: new_id(),
            r#ref: REF.into(),
            feedback_type: "wandb.reaction.1".into(),
            payload_json: serde_json::json!({ "emoji": "👍" }).to_string(),
            ..Feedback::default()
        }),
    };
    let stored = Retries::of("CreateFeedback")
        .call(async |left| client.clone().create_feedback(within(left, create.clone())).await)
        .await?
        .into_inner()
        .feedback
        .unwrap_or_default();
    println!("stored {} {}", stored.id, stored.payload_json);

    let on_ref = Kind::Comparison(Box::new(Comparison {
        op: ComparisonOp::Eq.into(),
        left: expression(Kind::Field("ref".into())),
        right: expression(Kind::Literal(Literal {
            value: Some(literal::Value::StringValue(REF.into())),
        })),
    }));
    let mut query = QueryFeedbackRequest {
        project: PROJECT.into(),
        query: Some(Query {
            expr: Some(Expression { kind: Some(on_ref) }),
        }),
        ..QueryFeedbackRequest::default()
    };
    loop {
        let page = Retries::of("QueryFeedback")
            .call(async |left| client.clone().query_feedback(within(left, query.clone())).await)
            .await?
            .into_inner();
        for found in page.feedback {
            println!("found {} {}", found.feedback_type, found.payload_json);
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        query.page_token = page.next_page_token;
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let target = arguments.next().ok_or("usage: plaudit-example TARGET [CONVERSATION]")?;
    let channel = plaudit::connect(&target)?;
    match arguments.next() {
        Some(path) => conversation::play(channel, &path).await,
        None => thumbs_up(channel).await.map_err(|status| {
            let refusal = Refusal::new(status.code(), status.get_error_details());
            format!("{}: {refusal:?}", status.message()).into()
        }),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
