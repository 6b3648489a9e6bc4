//! `bellwether agent`.

use crate::failure::{Exit, Outcome};

#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> Outcome {
    Ok(Exit::Done)
}
