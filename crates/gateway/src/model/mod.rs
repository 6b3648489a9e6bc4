//! Model calls out of agents: admission, forwarding, timing.
