//! A backup of everything that the state directory holds for good, made while all of it is in use.
//!
//! The journal first, the gateway's store second. So the gateway's copy knows at least every route that the journal's
//! copy has seen made; what it knows beyond that the controller finds when it looks, as after any crash.

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bellwether_core::{
    diagnostic::{Diagnostic, chain},
    port::gateway::{GatewayAnswer, GatewayIntent},
};
use bellwether_store::{Backup, BackupError, GATEWAY, JOURNAL, Manifest};

use super::{
    Shared, problem,
    types::{BackedUp, BackupRequest},
};
use crate::{clock, error::Error, journal::Journal};

/// What belongs to the stores and is small.
pub const BESIDE: [&str; 3] = ["secret", "spec.json", "bellwether.json"];

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("a relative path means nothing to the controller: {}", .0.display())]
    Relative(PathBuf),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error("the journal cannot be read")]
    Journal(#[from] Error),
    #[error("the gateway did not copy its store: {0}")]
    Gateway(String),
    #[error("the copying was ended")]
    Ended(#[from] tokio::task::JoinError),
}

pub(super) async fn make(State(shared): State<Arc<Shared>>, Json(request): Json<BackupRequest>) -> Response {
    let to = request.to;
    match back_up(&shared, to.clone()).await {
        Ok(manifest) => Json(BackedUp { to, manifest }).into_response(),
        Err(error) => {
            let help = "name a folder that is not there yet, on a disk with room for both stores, that the user whom \
                        `serve` runs as may write to";
            let diagnostic = Diagnostic::new("BW0350", "no backup was made").because(chain(&error)).help(help);
            problem(StatusCode::UNPROCESSABLE_ENTITY, "no backup was made", &[diagnostic])
        }
    }
}

async fn back_up(shared: &Shared, to: PathBuf) -> Result<Manifest, Failed> {
    if to.is_relative() {
        return Err(Failed::Relative(to));
    }
    let journal = shared.evidence.journal.clone();
    let begin = move || {
        let backup = Backup::begin(&to)?;
        match Journal::reader(&journal).map_err(Failed::from).and_then(|journal| {
            journal.copy(&backup.path(JOURNAL.file)).map_err(BackupError::from)?;
            Ok(())
        }) {
            Ok(()) => Ok(backup),
            Err(error) => {
                backup.abandon();
                Err(error)
            }
        }
    };
    let backup = tokio::task::spawn_blocking(begin).await??;
    let copied = shared.evidence.gateway.ask(&GatewayIntent::Copy { to: backup.path(GATEWAY.file) }).await;
    let refused = match copied {
        Ok(GatewayAnswer::Done { .. }) => None,
        Ok(GatewayAnswer::Refused { reason }) => Some(reason),
        Ok(other) => Some(format!("it answered {other:?}")),
        Err(error) => Some(chain(&error)),
    };
    if let Some(reason) = refused {
        backup.abandon();
        return Err(Failed::Gateway(reason));
    }
    let (state, fleet) = (shared.evidence.journal.with_file_name(""), shared.spec.fleet.clone());
    let finish = move || {
        let taken = BESIDE.iter().try_for_each(|name| backup.take(&state.join(name)));
        match taken {
            Ok(()) => backup.finish(&fleet, clock::wall().0),
            Err(error) => {
                backup.abandon();
                Err(error)
            }
        }
    };
    Ok(tokio::task::spawn_blocking(finish).await??)
}
