//! Plays a conversation with the server; docs/polyglot.md explains the parts of its steps.

use std::{collections::HashMap, error::Error, fs};

use prost::{
    Message,
    bytes::{Buf, BufMut},
};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use serde_json::{Map, Value, json};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};
use tonic_types::{RpcStatusExt, StatusExt};

use crate::plaudit::{DEADLINE, Refusal, Retries, new_id};

static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plaudit.binpb"));

pub async fn play(channel: Channel, path: &str) -> Result<(), Box<dyn Error>> {
    let conversation: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let pool = DescriptorPool::decode(DESCRIPTORS)?;
    let mut variables = HashMap::from([("project".to_owned(), format!("polyglot/rust-{}", new_id()))]);
    let steps = conversation["steps"].as_array().ok_or("no steps")?;
    for step in steps {
        let step: Value = serde_json::from_str(&substitute(&step.to_string(), &mut variables))?;
        let name = step["step"].as_str().unwrap_or_default();
        let service = step["service"].as_str().unwrap_or("FeedbackService");
        let method = pool
            .get_service_by_name(&format!("plaudit.v1.{service}"))
            .ok_or("no such service")?
            .methods()
            .find(|method| method.name() == step["call"])
            .ok_or("no such call")?;
        let answer = match call(channel.clone(), &method, &step).await? {
            Ok(answer) => answer,
            Err(status) => json!({ "refused": explained(Refusal::new(status.code(), status.get_error_details())) }),
        };
        let expected = match step.get("refused") {
            Some(refused) => json!({ "refused": refused }),
            None => step["expect"].clone(),
        };
        difference(&expected, Some(&answer), "answer").map_err(|wrong| format!("{name}: {wrong}"))?;
        for (variable, path) in step["keep"].as_object().into_iter().flatten() {
            let pointer = format!("/{}", path.as_str().unwrap_or_default().replace('.', "/"));
            let value = answer
                .pointer(&pointer)
                .and_then(Value::as_str)
                .ok_or("nothing to keep")?;
            variables.insert(variable.clone(), value.to_owned());
        }
        println!("ok: {name}");
    }
    println!("{} steps, all as expected", steps.len());
    Ok(())
}

/// Replaces variables by their values; one named id.… is a new UUIDv7 at its first use.
fn substitute(text: &str, variables: &mut HashMap<String, String>) -> String {
    let mut parts = text.split("${");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        if name.starts_with("id.") {
            variables.entry(name.to_owned()).or_insert_with(new_id);
        }
        result.push_str(&variables[name]);
        result.push_str(rest);
    }
    result
}

/// The answer in JSON, or the status of a refusal; the outer error is a defect of the conversation.
async fn call(
    channel: Channel,
    method: &MethodDescriptor,
    step: &Value,
) -> Result<Result<Value, Status>, Box<dyn Error>> {
    let messages = match &step["send"] {
        Value::Array(messages) => messages.as_slice(),
        message => std::slice::from_ref(message),
    };
    let requests = messages
        .iter()
        .map(|json| Ok(DynamicMessage::deserialize(method.input(), json)?.encode_to_vec()))
        .collect::<Result<Vec<_>, serde_json::Error>>()?;
    Ok(if method.is_server_streaming() {
        stream(channel, method, requests, step).await
    } else {
        unary(channel, method, &requests[0]).await
    })
}

fn path(method: &MethodDescriptor) -> PathAndQuery {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    path.parse().expect("a method's name is a path")
}

async fn unary(channel: Channel, method: &MethodDescriptor, request: &[u8]) -> Result<Value, Status> {
    let response = Retries::of(method.name())
        .call(async |left| {
            let mut grpc = Grpc::new(channel.clone());
            grpc.ready()
                .await
                .map_err(|error| Status::unavailable(error.to_string()))?;
            let mut request = Request::new(request.to_vec());
            request.set_timeout(left);
            grpc.unary(request, path(method), Bytes).await
        })
        .await?;
    to_json(method, &response.into_inner())
}

/// All messages of a stream, or as many elements as are expected; dropping the stream cancels the call.
async fn stream(
    channel: Channel,
    method: &MethodDescriptor,
    requests: Vec<Vec<u8>>,
    step: &Value,
) -> Result<Value, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(tokio_stream::iter(requests));
    request.set_timeout(DEADLINE);
    let mut responses = grpc.streaming(request, path(method), Bytes).await?.into_inner();
    let count = step["expect"].as_array().map_or(1, Vec::len);
    let mut answer = Vec::new();
    while let Some(bytes) = responses.message().await? {
        let json = to_json(method, &bytes)?;
        match step["collect"].as_str() {
            None => answer.push(json),
            Some(field) => answer.extend(json[field].as_array().into_iter().flatten().cloned()),
        }
        if step["collect"].is_string() && answer.len() >= count {
            break;
        }
    }
    Ok(Value::Array(answer))
}

/// A response in the JSON mapping; the statuses of single records become refusals.
fn to_json(method: &MethodDescriptor, bytes: &[u8]) -> Result<Value, Status> {
    let broken = |error: &dyn Error| Status::internal(error.to_string());
    let message = DynamicMessage::decode(method.output(), bytes).map_err(|error| broken(&error))?;
    let mut statuses = Vec::new();
    for field in ["results", "rejected"] {
        let items = message.get_field_by_name(field);
        for (n, item) in items.iter().filter_map(|items| items.as_list()).flatten().enumerate() {
            let status = item.as_message().filter(|item| item.has_field_by_name("status"));
            if let Some(status) = status.and_then(|item| item.get_field_by_name("status")?.as_message().cloned()) {
                let status: tonic_types::Status = status.transcode_to().map_err(|error| broken(&error))?;
                let refusal = Refusal::new(Code::from(status.code), status.get_error_details());
                statuses.push((format!("/{field}/{n}"), explained(refusal)));
            }
        }
    }
    let mut without = message;
    // The descriptors of the service do not include the types of the details.
    clear_details(&mut without);
    let mut json = serde_json::to_value(&without).map_err(|error| broken(&error))?;
    for (pointer, explained) in statuses {
        if let Some(Value::Object(item)) = json.pointer_mut(&pointer) {
            item.insert("status".into(), explained);
        }
    }
    Ok(json)
}

fn clear_details(message: &mut DynamicMessage) {
    for field in ["results", "rejected"] {
        let Some(items) = message
            .get_field_by_name_mut(field)
            .and_then(|items| items.as_list_mut())
        else {
            continue;
        };
        for item in items.iter_mut().filter_map(|item| item.as_message_mut()) {
            if item.has_field_by_name("status") {
                item.clear_field_by_name("status");
            }
        }
    }
}

fn explained(refusal: Refusal) -> Value {
    let mut json = Map::from_iter([
        ("code".to_owned(), json!(refusal.code)),
        ("reason".to_owned(), json!(refusal.reason)),
        ("metadata".to_owned(), json!(refusal.metadata)),
        ("fields".to_owned(), json!(refusal.fields)),
    ]);
    if let Some(delay) = refusal.retry_delay {
        json.insert("retryDelay".into(), json!(delay.as_secs_f64()));
    }
    Value::Object(json)
}

/// Whether an answer is as expected. Null means absent, "*" anything; other keys are allowed.
fn difference(expected: &Value, actual: Option<&Value>, path: &str) -> Result<(), String> {
    let wrong = || Err(format!("{path}: expected {expected}, got {actual:?}"));
    match (expected, actual) {
        (Value::Null, None) => Ok(()),
        (Value::Null, Some(_)) | (_, None) => wrong(),
        (Value::String(any), Some(_)) if any == "*" => Ok(()),
        (Value::Object(fields), Some(Value::Object(actual))) => fields
            .iter()
            .try_for_each(|(key, value)| difference(value, actual.get(key), &format!("{path}.{key}"))),
        (Value::Array(list), Some(Value::Array(actual))) if list.len() == actual.len() => list
            .iter()
            .zip(actual)
            .enumerate()
            .try_for_each(|(n, (value, actual))| difference(value, Some(actual), &format!("{path}.{n}"))),
        (Value::Number(number), Some(Value::Number(actual))) if number.as_f64() == actual.as_f64() => Ok(()),
        (expected, Some(actual)) if expected == actual => Ok(()),
        _ => wrong(),
    }
}

/// A codec that leaves messages as bytes, because their types are only known at run time.
#[derive(Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
