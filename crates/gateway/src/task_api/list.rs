//! `GET /tasks`: counts, and with a filter the tasks behind them, page by page.

use hyper::StatusCode;
use serde::Serialize;
use tokio::time::Instant;

use super::query;
use crate::{
    body::{self, Request, Response},
    desk::{Ask, Counts, Page, Unavailable},
    door::Door,
    limits,
    problem::{problem, unavailable},
    store::{Filter, Shown, is_state},
};

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    counts: Counts,
    tasks: Vec<Shown>,
    next: Option<u64>,
}

pub(super) async fn list(door: &Door, request: &Request) -> Result<Response, Response> {
    let counts = door.desk.ask(Ask::Counts).await.map_err(|Unavailable| unavailable())?;
    let filter = Filter {
        state: query::text(request, "state")?,
        agent: query::text(request, "agent")?,
        agent_type: query::text(request, "type")?,
    };
    if let Some(state) = filter.state.as_deref().filter(|state| !is_state(state)) {
        let detail =
            format!("state is delayed, queued, leased, completed, failed, expired, cancelled or dead, not {state:?}");
        return Err(problem(StatusCode::BAD_REQUEST, &detail));
    }
    let after: Option<u64> = query::number(request, "after")?;
    let limit: Option<usize> = query::number(request, "limit")?;
    let wants_tasks = filter.state.is_some() || filter.agent.is_some() || filter.agent_type.is_some();
    if !wants_tasks && after.is_none() && limit.is_none() {
        return Ok(body::json(StatusCode::OK, &counts));
    }
    let limit = limit.unwrap_or(limits::LISTED);
    if !(1..=limits::LISTED_MAX).contains(&limit) {
        return Err(problem(StatusCode::BAD_REQUEST, &format!("limit is from 1 to {}", limits::LISTED_MAX)));
    }
    let (tasks, next) = collect(door, &filter, after.unwrap_or_default(), limit).await?;
    Ok(body::json(StatusCode::OK, &Listed { counts, tasks, next }))
}

/// The writer looks at a part of the list at a time, and does other things in between.
async fn collect(
    door: &Door,
    filter: &Filter,
    mut after: u64,
    limit: usize,
) -> Result<(Vec<Shown>, Option<u64>), Response> {
    let until = Instant::now() + limits::LIST_TIME;
    let mut tasks = Vec::new();
    loop {
        let (filter, limit_left) = (filter.clone(), limit - tasks.len());
        let ask = |tell| Ask::List { filter, after, limit: limit_left, tell };
        let Page { tasks: found, next } = door.desk.ask(ask).await.map_err(|Unavailable| unavailable())?;
        tasks.extend(found);
        match next {
            Some(next) if tasks.len() < limit && Instant::now() < until => after = next,
            next => return Ok((tasks, next)),
        }
    }
}
