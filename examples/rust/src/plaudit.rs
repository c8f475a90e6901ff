//! What a client of plaudit needs: a channel, ids, deadlines, retries, and the details of errors.

use std::{collections::HashMap, future::Future, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

/// The generated stubs.
pub mod v1 {
    tonic::include_proto!("plaudit.v1");
}

/// The time for every unary call, including its retries.
pub const DEADLINE: Duration = Duration::from_secs(20);

const SERVICE_CONFIG: &str = include_str!("../../../proto/plaudit/v1/feedback_grpc_service_config.json");

/// The one channel that a program needs; clones of it are cheap and share the connection.
pub fn connect(target: &str) -> Result<Channel, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{target}"))?.connect_lazy())
}

/// The id of a record, a UUIDv7. Every retry is safe because the client makes it, not the server.
pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// Retries by the published service config, which tonic does not read itself.
pub struct Retries {
    attempts: u64,
    first_delay: f64,
    longest_delay: f64,
    factor: f64,
    codes: Vec<String>,
}

impl Retries {
    /// The policy of a method such as `CreateFeedback`.
    pub fn of(method: &str) -> Self {
        let config: Value = serde_json::from_str(SERVICE_CONFIG).expect("the service config is JSON");
        let policy = config["methodConfig"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|entry| {
                entry["name"]
                    .as_array()
                    .is_some_and(|names| names.iter().any(|name| name["method"] == method))
            })
            .map_or(&Value::Null, |entry| &entry["retryPolicy"]);
        let seconds = |name: &str| {
            policy[name]
                .as_str()
                .and_then(|text| text.strip_suffix('s')?.parse().ok())
                .unwrap_or(0.0)
        };
        let codes = policy["retryableStatusCodes"].as_array().into_iter().flatten();
        Self {
            attempts: policy["maxAttempts"].as_u64().unwrap_or(1),
            first_delay: seconds("initialBackoff"),
            longest_delay: seconds("maxBackoff"),
            factor: policy["backoffMultiplier"].as_f64().unwrap_or(1.0),
            codes: codes.filter_map(|code| Some(code.as_str()?.to_owned())).collect(),
        }
    }

    /// Makes a call, and retries it; `call` receives the time that is left.
    pub async fn call<T, F>(&self, mut call: impl FnMut(Duration) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let deadline = Instant::now() + DEADLINE;
        let mut backoff = self.first_delay;
        for attempt in 1.. {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(outcome) = timeout_at(deadline, call(left)).await else {
                break;
            };
            let Err(status) = outcome else { return outcome };
            let hint = status.get_details_retry_info().and_then(|info| info.retry_delay);
            // A fifth more or less, so that clients do not retry all at once.
            let jitter = 0.8 + 0.4 * f64::from(Uuid::now_v7().as_u128() as u32) / f64::from(u32::MAX);
            let delay = hint.unwrap_or(Duration::from_secs_f64(backoff * jitter));
            // Without a RetryInfo a retry does not help: the request may be too large, for example.
            let pointless = status.code() == Code::ResourceExhausted && hint.is_none();
            let retried = attempt < self.attempts && self.codes.contains(&code_name(status.code())) && !pointless;
            if !retried || Instant::now() + delay >= deadline {
                return Err(status);
            }
            sleep(delay).await;
            backoff = (backoff * self.factor).min(self.longest_delay);
        }
        Err(Status::deadline_exceeded("no answer in time"))
    }
}

/// The details of a status.
#[derive(Debug, Default)]
pub struct Refusal {
    pub code: String,
    pub reason: String,
    pub metadata: HashMap<String, String>,
    pub fields: Vec<String>,
    pub retry_delay: Option<Duration>,
}

impl Refusal {
    /// From a call's error: `Refusal::new(error.code(), error.get_error_details())`; from one record's status likewise.
    pub fn new(code: Code, details: ErrorDetails) -> Self {
        let mut refusal = Self {
            code: code_name(code),
            ..Self::default()
        };
        if let Some(info) = details.error_info() {
            refusal.reason.clone_from(&info.reason);
            refusal.metadata.clone_from(&info.metadata);
        }
        if let Some(bad) = details.bad_request() {
            refusal.fields = bad
                .field_violations
                .iter()
                .map(|violation| violation.field.clone())
                .collect();
            refusal.fields.sort();
        }
        refusal.retry_delay = details.retry_info().and_then(|info| info.retry_delay);
        refusal
    }
}

/// The code as the protocol spells it: `INVALID_ARGUMENT`.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
}
