//! `bellwether bench …`: measures what is not Bellwether's own.

mod model;

use crate::failure::Outcome;

/// Measure model servers, and what stands in front of them, as clients see them
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Sub,
}

#[derive(clap::Subcommand)]
enum Sub {
    Model(Box<model::Args>),
}

pub(crate) fn run(args: Args) -> Outcome {
    match args.what {
        Sub::Model(args) => model::run(*args),
    }
}
