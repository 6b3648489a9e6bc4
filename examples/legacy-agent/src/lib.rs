//! Blue base.
