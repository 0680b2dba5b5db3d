//! `export`: all keys and values of one node, as lines.

use axum::http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::cli::ExportOptions;
use crate::exit::Failure;
use crate::http::Call;
use crate::wire::{self, Consistency, ErrorBody};

/// Writes the state of the first endpoint that gives it. Once it has begun, a break is an error: another node's view
/// may be of another moment.
pub(crate) async fn export(options: ExportOptions) -> Result<(), Failure> {
    let client = options.cluster.client();
    let consistency = if options.stale { Consistency::Stale } else { Consistency::Follower };
    let call = Call::new(Method::GET, consistency.on(wire::EXPORT_PATH));
    let mut reasons = Vec::new();
    for endpoint in client.endpoints() {
        let opened =
            tokio::time::timeout(options.cluster.timeout(), client.http().open(endpoint, &call)).await;
        match opened {
            Ok(Ok(response)) if response.status().is_success() => {
                return match &options.output {
                    Some(file) => {
                        let failed = |e| Failure::error(format!("{} cannot be written: {e}", file.display()));
                        copy(response.into_body(), tokio::fs::File::create(file).await.map_err(failed)?).await
                    }
                    None => copy(response.into_body(), tokio::io::stdout()).await,
                };
            }
            Ok(Ok(response)) => {
                let status = response.status();
                let body = response.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
                let message = serde_json::from_slice::<ErrorBody>(&body).map(|b| b.message);
                reasons.push(format!("{endpoint}: {}", message.unwrap_or_else(|_| status.to_string())));
            }
            Ok(Err(error)) => reasons.push(error.to_string()),
            Err(_) => {
                reasons.push(format!("{endpoint} gave no answer within {:?}", options.cluster.timeout()))
            }
        }
    }
    Err(Failure::error(format!("no endpoint gives its state: {}", reasons.join("; "))))
}

async fn copy(mut body: Incoming, mut out: impl AsyncWrite + Unpin) -> Result<(), Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            Failure::error(format!("the export is incomplete, the node went away: {e}; run it again"))
        })?;
        if let Ok(chunk) = frame.into_data() {
            out.write_all(&chunk).await.map_err(|e| Failure::error(format!("the output broke off: {e}")))?;
        }
    }
    out.flush().await.map_err(|e| Failure::error(format!("the output broke off: {e}")))
}
