//! A rollout that nothing but a command ends.

/// Nothing that the killing does to the figures may end the rollout.
pub(crate) const POLICY: &str = "  undo_max: 10m
  crash_loop: 1000000
  triggers: {memory: off, cpu: off, errors: off, latency: off, model_failures: off, breaker_trips: off, health_failures: off, progress: off}
  criteria: {task_rate_min: 0, latency_p95_max: 100, latency_p50_max: 100, error_rise_max: 1, memory_max: 100, cpu_max: 100, model_success_min: 0, availability_min: 0, completion_min: 0}
";
