//! The baseline: a window measured before anything is touched, and refused where it says nothing (R19).

use serde::{Deserialize, Serialize};

use super::Window;
use crate::time::Millis;

/// Share of the wanted seconds that must be there: the gateway may have been restarted in between.
const PRESENT_MIN: f64 = 0.9;

/// Measured, long enough and not empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Baseline(Window);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    #[error("the baseline has {seconds} s of records where {wanted} are wanted; {missed} s are missing in between")]
    TooShort { seconds: u64, missed: u64, wanted: Millis },
    #[error("in {seconds} s of baseline no task and no pushed request ended, so there is nothing to compare with")]
    Empty { seconds: u64 },
}

impl Baseline {
    /// Takes `window` as what blue does, if it covers `wanted` and anything ended in it.
    pub fn new(window: Window, wanted: Millis) -> Result<Self, BaselineError> {
        let seconds = window.seconds();
        if super::exact::real(seconds) < (PRESENT_MIN * wanted.as_secs_f64()).floor().max(1.0) {
            return Err(BaselineError::TooShort { seconds, missed: window.missed(), wanted });
        }
        if window.total().outcomes() == 0 {
            return Err(BaselineError::Empty { seconds });
        }
        Ok(Self(window))
    }

    pub fn window(&self) -> &Window {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::tests::cell,
        id::{AgentType, Side},
        observation::Second,
    };

    fn window(seconds: u64, tasks: u64) -> Window {
        let mut window = Window::default();
        for number in 1..=seconds {
            let cells = vec![cell("a1", Side::Blue, tasks, 0, 5_000)];
            window.second(&Second { number, cells, ..Second::default() }, &|_| Some(AgentType::from("t")));
        }
        window
    }

    #[test]
    fn too_short_and_empty_are_refused_with_their_numbers() {
        let wanted = Millis::from_secs(20);
        assert_eq!(
            Baseline::new(window(17, 3), wanted).unwrap_err().to_string(),
            "the baseline has 17 s of records where 20s are wanted; 0 s are missing in between"
        );
        assert_eq!(Baseline::new(window(20, 0), wanted), Err(BaselineError::Empty { seconds: 20 }));
        assert!(Baseline::new(window(18, 3), wanted).is_ok());
        assert!(Baseline::new(Window::default(), Millis::ZERO).is_err());
    }
}
