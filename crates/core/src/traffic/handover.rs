//! The order in which a gateway gives way to the next one. Pure: the elder's side, step by step.
//!
//! Three things must hold wherever either process dies. The store has one writer: it is told to be an heir's only after
//! it was closed. No request meets a closing door: the door is shut, and whoever stands before it waits, until either
//! the elder opens it again or the heir accepts. And nobody decides about the model server's slots twice: the elder grants
//! none once the store is closed, and the heir none before it was told which are taken.

/// Where the elder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Serving,
    /// The door is shut, and what had begun ends.
    Quiescing,
    /// The store is being closed, which cannot be taken back.
    Closing {
        heir: bool,
    },
    /// The store is closed and the door still shut.
    Closed {
        /// One that was told is there.
        heir: bool,
    },
    /// Whoever comes is passed on; what had begun goes on.
    Lending {
        heir: bool,
    },
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An heir asks for the place.
    Asked,
    /// Nobody inside needs the store any more, or has had its time.
    Quiesced,
    /// The heir that asked is dead.
    HeirLost,
    StoreClosed,
    /// The heir that was told accepts connections.
    HeirAccepts,
    /// Nothing is in flight, or it has had its time.
    Finished,
}

/// What the shell does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    ShutDoor,
    OpenDoor,
    /// Grant no slot any more, and close the store.
    CloseStore,
    /// The heir gets all that is left, and with it the leave to open the store.
    TellEstate,
    /// Who waits at the door is passed on to the heir.
    PassOn,
    End,
    /// An heir is there already.
    Refuse,
}

/// It cannot happen there: the shell is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen while {stage:?}")]
pub struct Misplaced {
    pub stage: Stage,
    pub event: Event,
}

impl Stage {
    /// Whether the store is open here.
    pub fn owns_store(self) -> bool {
        match self {
            Self::Serving | Self::Quiescing | Self::Closing { .. } => true,
            Self::Closed { .. } | Self::Lending { .. } | Self::Gone => false,
        }
    }

    /// What follows, and what is to be done for it.
    pub fn step(self, event: Event) -> Result<(Self, Option<Effect>), Misplaced> {
        use Event::{Asked, Finished, HeirAccepts, HeirLost, Quiesced, StoreClosed};
        Ok(match (self, event) {
            (Self::Serving, Asked) => (Self::Quiescing, Some(Effect::ShutDoor)),
            (Self::Quiescing, Quiesced) => (Self::Closing { heir: true }, Some(Effect::CloseStore)),
            (Self::Quiescing, HeirLost) => (Self::Serving, Some(Effect::OpenDoor)),
            (Self::Closing { .. }, HeirLost) => (Self::Closing { heir: false }, None),
            (Self::Closing { heir: false }, Asked) => (Self::Closing { heir: true }, None),
            (Self::Closing { heir }, StoreClosed) => (Self::Closed { heir }, heir.then_some(Effect::TellEstate)),
            (Self::Closed { .. }, HeirLost) => (Self::Closed { heir: false }, None),
            (Self::Closed { heir: false }, Asked) => (Self::Closed { heir: true }, Some(Effect::TellEstate)),
            (Self::Closed { heir: true }, HeirAccepts) => (Self::Lending { heir: true }, Some(Effect::PassOn)),
            (Self::Lending { .. }, HeirLost) => (Self::Lending { heir: false }, None),
            (Self::Lending { heir: false }, Asked) => (Self::Lending { heir: true }, Some(Effect::TellEstate)),
            // A later heir says so too; the way is open already.
            (Self::Lending { heir: true }, HeirAccepts) => (self, None),
            (Self::Lending { .. }, Finished) => (Self::Gone, Some(Effect::End)),
            (
                Self::Quiescing
                | Self::Closing { heir: true }
                | Self::Closed { heir: true }
                | Self::Lending { heir: true },
                Asked,
            ) => (self, Some(Effect::Refuse)),
            // Who was refused, or had not asked yet, is no loss.
            (Self::Serving | Self::Gone, HeirLost) => (self, None),
            (Self::Serving, Quiesced | StoreClosed | HeirAccepts | Finished)
            | (Self::Quiescing, StoreClosed | HeirAccepts | Finished)
            | (Self::Closing { .. }, Quiesced | HeirAccepts | Finished)
            | (Self::Closed { .. }, Quiesced | StoreClosed | Finished)
            | (Self::Closed { heir: false } | Self::Lending { heir: false }, HeirAccepts)
            | (Self::Lending { .. }, Quiesced | StoreClosed)
            | (Self::Gone, Asked | Quiesced | StoreClosed | HeirAccepts | Finished) => {
                return Err(Misplaced { stage: self, event });
            }
        })
    }
}

#[cfg(test)]
mod tests;
