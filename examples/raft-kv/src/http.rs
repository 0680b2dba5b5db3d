//! A small HTTP client that keeps apart what was certainly not sent from what may have been.

use std::time::Duration;

use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// How long a connection may take to be made: nodes stand near one another, and a dead one must not hold up the rest.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest answer that is read into memory: the largest value, and room for JSON.
const MAX_ANSWER_BYTES: usize = crate::limits::MAX_VALUE_BYTES + 64 * 1024;

/// Connections to nodes, kept open between requests. A clone shares them.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A request to be sent, perhaps more than once.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Bytes,
}

impl Call {
    /// A request without headers and body.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// The same with a header.
    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same with a body.
    pub(crate) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// There was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    /// No connection could be made: nothing was sent.
    #[error("{target} cannot be reached: {cause}")]
    NotSent { target: String, cause: String },
    /// The request may have arrived.
    #[error("{target} gave no answer: {cause}")]
    NoAnswer { target: String, cause: String },
}

impl Http {
    /// A client without connections yet.
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Sends `call` to `target` (`host:port`) and reads the whole answer, all within `within`.
    pub(crate) async fn call(
        &self,
        target: &str,
        call: &Call,
        within: Duration,
    ) -> Result<Answer, HttpError> {
        let no_answer = |cause: String| HttpError::NoAnswer { target: target.to_owned(), cause };
        let exchange = async {
            let (head, body) = self.open(target, call).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|e| no_answer(e.to_string()))?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        match tokio::time::timeout(within, exchange).await {
            Ok(result) => result,
            Err(_) => Err(no_answer(format!("nothing came within {within:?}"))),
        }
    }

    /// Sends `call` to `target` and leaves the answer's body to be read.
    pub(crate) async fn open(&self, target: &str, call: &Call) -> Result<Response<Incoming>, HttpError> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("http://{target}{}", call.path))
            .body(Full::new(call.body.clone()))
            .map_err(|e| HttpError::NotSent { target: target.to_owned(), cause: e.to_string() })?;
        for (name, value) in &call.headers {
            request.headers_mut().insert(*name, axum::http::HeaderValue::from_static(value));
        }
        self.client.request(request).await.map_err(|e| {
            let (target, cause) = (target.to_owned(), innermost(&e));
            if e.is_connect() {
                HttpError::NotSent { target, cause }
            } else {
                HttpError::NoAnswer { target, cause }
            }
        })
    }
}

/// The words of the last cause: "connection refused" says more than "client error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_connection_is_not_sent_and_a_closed_one_is_no_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let call = Call::new(Method::GET, "/");
        let http = Http::new();

        let hang_up = async {
            // Take the request first: closing at once could still be told apart from it having been read.
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            tokio::io::AsyncReadExt::read(&mut stream, &mut request).await.unwrap();
        };
        let (result, ()) = tokio::join!(http.call(&target, &call, Duration::from_secs(10)), hang_up);
        assert!(matches!(result, Err(HttpError::NoAnswer { .. })), "{result:?}");

        drop(listener);
        let result = http.call(&target, &call, Duration::from_secs(10)).await;
        assert!(matches!(result, Err(HttpError::NotSent { .. })), "{result:?}");
    }
}
