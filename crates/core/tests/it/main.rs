//! What a person reads and what others rely on, checked from outside.

mod calendar;
mod fleet_file;
mod fleet_file_errors;
mod plan;
mod plan_errors;
mod support;
mod way_back;
