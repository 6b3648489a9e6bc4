//! The command line of `bellwether-sim`.

use bellwether_sim::{Death, PLAYS, Party, SCENARIOS, Scenario};

pub(crate) const USAGE: &str = "\
bellwether-sim: rollouts of the example fleet in a simulated world

  --seeds N        seeds 1 to N; each is one run, and they take turns at the scenarios (default 300)
  --each N         seeds 1 to N of every scenario
  --seed S         this seed only
  --scenario NAME  this scenario only
  --agents N       of the example's 131 agents (default all; 8 for --crash-points)
  --verbose        tell everything that happens; needs --seed and --scenario, or --play and --dies

  --crash-points   short rollouts in which somebody dies at each place where that is possible, instead
  --play NAME      this rollout only
  --sample K       only K deaths of each, drawn by the seed
  --twice K        K more of each with a second death during the recovery (default 500)
  --dies DEATH     only this one, such as 123:controller, or 123:gateway,150:supervisor
";

pub(crate) struct Options {
    pub(crate) seeds: u64,
    pub(crate) each: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) scenario: Option<&'static Scenario>,
    pub(crate) agents: Option<usize>,
    pub(crate) verbose: bool,
    pub(crate) crash_points: bool,
    pub(crate) play: Option<&'static Scenario>,
    pub(crate) sample: Option<usize>,
    pub(crate) twice: usize,
    pub(crate) dies: Vec<Death>,
}

impl Options {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            seeds: 300,
            each: false,
            seed: None,
            scenario: None,
            agents: None,
            verbose: false,
            crash_points: false,
            play: None,
            sample: None,
            twice: 500,
            dies: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let name = argument.as_str();
            let mut word = || arguments.next().unwrap_or_default();
            match name {
                "--seeds" => options.seeds = number(name, &word())?,
                "--each" => (options.seeds, options.each) = (number(name, &word())?, true),
                "--seed" => options.seed = Some(number(name, &word())?),
                "--agents" => options.agents = Some(count(name, &word())?),
                "--scenario" => options.scenario = Some(among(&SCENARIOS, "scenario", &word())?),
                "--verbose" => options.verbose = true,
                "--crash-points" => options.crash_points = true,
                "--play" => options.play = Some(among(&PLAYS, "play", &word())?),
                "--sample" => options.sample = Some(count(name, &word())?),
                "--twice" => options.twice = count(name, &word())?,
                "--dies" => options.dies = deaths(&word())?,
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("{other:?} is not known")),
            }
        }
        options.checked().map(Some)
    }

    fn checked(self) -> Result<Self, String> {
        let points = self.play.is_some() || self.sample.is_some() || !self.dies.is_empty();
        if points && !self.crash_points {
            return Err("--play, --sample and --dies need --crash-points".into());
        }
        if self.crash_points && (self.scenario.is_some() || self.each) {
            return Err("--crash-points has plays of its own, and no scenario".into());
        }
        if !self.dies.is_empty() && self.play.is_none() {
            return Err("--dies needs --play".into());
        }
        let one =
            if self.crash_points { !self.dies.is_empty() } else { self.seed.is_some() && self.scenario.is_some() };
        if self.verbose && !one {
            return Err("--verbose needs --seed and --scenario, or --play and --dies".into());
        }
        Ok(self)
    }
}

fn number(name: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("{name} wants a number, not {value:?}"))
}

fn count(name: &str, value: &str) -> Result<usize, String> {
    value.parse().map_err(|_| format!("{name} wants a number, not {value:?}"))
}

fn among(known: &'static [Scenario], what: &str, name: &str) -> Result<&'static Scenario, String> {
    known.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|scenario| scenario.name).collect();
        format!("there is no {what} {name:?}; there are {}", names.join(", "))
    })
}

/// `123:controller,150:gateway`.
fn deaths(text: &str) -> Result<Vec<Death>, String> {
    let death = |word: &str| {
        let (at, party) = word.split_once(':')?;
        Some(Death { at: at.parse().ok()?, party: Party::named(party)? })
    };
    text.split(',').map(death).collect::<Option<Vec<_>>>().ok_or_else(|| {
        let parties: Vec<&str> = Party::ALL.into_iter().map(Party::name).collect();
        format!("{text:?} is not NUMBER:PARTY[,NUMBER:PARTY]; parties are {}", parties.join(", "))
    })
}

/// As [`Options::read`] takes it.
pub(crate) fn written(deaths: &[Death]) -> String {
    deaths.iter().map(|death| format!("{}:{}", death.at, death.party.name())).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>, String> {
        Options::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_death_is_read_as_it_is_written() {
        let text = "123:controller,150:controller-and-gateway";
        assert_eq!(written(&deaths(text).unwrap()), text);
        for wrong in ["", "12", "x:gateway", "5:nobody", "5:gateway;6:gateway"] {
            assert!(deaths(wrong).unwrap_err().contains("parties are controller, "), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            "--play healthy",
            "--crash-points --scenario chaos",
            "--crash-points --dies 5:gateway",
            "--verbose --seed 3",
            "--seeds many",
            "--scenario none",
            "--what",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
        let options = read("--crash-points --play blamed --seed 4 --dies 5:gateway --verbose").unwrap().unwrap();
        assert_eq!((options.seed, options.dies.len(), options.verbose), (Some(4), 1, true));
        assert!(read("--help").unwrap().is_none());
    }
}
