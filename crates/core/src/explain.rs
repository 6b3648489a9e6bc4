//! Every code that a person can meet, with a paragraph that says what is behind it and what to do.
//!
//! Codes are stable: one that is no longer used is never given to something else.

/// What stands behind a code, if it is one of ours.
pub fn explain(code: &str) -> Option<&'static str> {
    CODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code)).map(|(_, text)| *text)
}

/// The code that `code` was most likely meant to be: digits out of order, another slip of the hand, else the next in
/// number.
pub fn nearest(code: &str) -> Option<&'static str> {
    let codes = || CODES.iter().map(|(known, _)| *known);
    let sorted = |code: &str| {
        let mut characters: Vec<char> = code.to_ascii_uppercase().chars().collect();
        characters.sort_unstable();
        characters
    };
    let swapped = codes().find(|known| sorted(known) == sorted(code));
    swapped.or_else(|| crate::spec::nearest::nearest(code, codes())).or_else(|| {
        let number: u32 = code.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok()?;
        codes().min_by_key(|known| known[2..].parse::<u32>().map_or(u32::MAX, |n| n.abs_diff(number)))
    })
}

/// All codes in order, each with its paragraph.
pub fn all() -> &'static [(&'static str, &'static str)] {
    CODES
}

const CODES: &[(&str, &str)] = &[
    (
        "BW0100",
        "A fleet or release file could not be read. The cause is the operating system's. Check the path, from the \
         directory in which the command was started, and who may read the file. Files must be UTF-8 text.",
    ),
    (
        "BW0101",
        "The file is not YAML that can be read here. The line named is where reading stopped; the slip is often one \
         line above: a missing colon, a bracket or quote that is not closed, uneven indentation, a tab. One file holds \
         one document, keys are single words, and an alias must not contain itself.",
    ),
    (
        "BW0102",
        "Fleet and release files start with `version: 1`, the version of their format. It lets a later program read \
         the file as it was meant. A file without it, or with a version that this program does not know, is refused \
         rather than guessed at.",
    ),
    (
        "BW0103",
        "A key is not known at this place. It is refused, because a misspelt key would silently leave a default in \
         force. The help names the nearest key that exists there. Keys that begin with `x-` are yours, for notes and \
         YAML anchors.",
    ),
    (
        "BW0104",
        "A value is of the wrong kind: a list where a word belongs, a word where a table of keys belongs, or the like. \
         The help shows how the value is written. Commands are lists, one word per item, because no shell takes them \
         apart.",
    ),
    (
        "BW0105",
        "A figure is not written as a person and a program can both read it. Spans of time and sizes need a unit \
         (`30m`, `48GiB`), because a bare 30 is seconds to one reader and minutes to the next. Shares are written 0.05 \
         or 5%.",
    ),
    (
        "BW0106",
        "A figure is outside the range in which it makes sense, such as a bake of no time or a share above 100 %. The \
         help names the range.",
    ),
    (
        "BW0107",
        "A phase selects no agent. Either its selection names a phase number or type that no agent has, or other phases \
         already took every agent that `rest` would have taken. An empty phase would bake and pass its gate without \
         having tried anything.",
    ),
    (
        "BW0108",
        "An agent is in two phases, or twice in one. Each agent is rolled out once. `select: rest` takes only what no \
         other phase selects, so it never collides.",
    ),
    (
        "BW0109",
        "Some agents are in no phase, so that the rollout would end with them on the old revision. Add a last phase \
         with `select: rest`, or select them where they belong.",
    ),
    (
        "BW0110",
        "A phase has another number of agents than its `expect` says. `expect` guards against an inventory that changed \
         since the phases were written: a canary of 13 must not silently become one of 60. If the change is meant, \
         write the new number.",
    ),
    (
        "BW0111",
        "Two agents have one name. The name is how requests, tasks and reports find an agent, so it must be its own. To \
         change single agents of an inventory, use `agents.overrides` rather than a second entry.",
    ),
    (
        "BW0112",
        "An agent's name is part of URLs such as `/a/NAME/`, so it holds only a-z, 0-9, dots, underscores and hyphens, \
         begins with a letter or digit, and has at most 100 characters.",
    ),
    (
        "BW0113",
        "No command says how to start an agent. Write it once under `agents.defaults.command`, or for single agents in \
         their entry or override. It is a list: the program, then its arguments. `bellwether` as the first word stands \
         for this very program.",
    ),
    (
        "BW0114",
        "The budget cannot work: the reserve takes all of the host's memory, or the model server has no inference slot. \
         The reserve is what the fleet leaves to everything else on the machine; slots are what the model server is \
         configured with as OLLAMA_NUM_PARALLEL.",
    ),
    (
        "BW0115",
        "The fleet file names no agents. They are written under `agents.list`, by name alone or with more about each, \
         or taken from a CSV file named in `agents.from_csv`.",
    ),
    (
        "BW0116",
        "The driver is what starts and stops agents. This version has `process`: each agent is a process of this \
         machine.",
    ),
    (
        "BW0117",
        "`tasks.mode` says where tasks come from: `queue` for the gateway's own queue, `relay` for a backend of your own \
         that agents go on asking, through the gateway, or `none` for a fleet that gets its work in other ways.",
    ),
    (
        "BW0118",
        "The CSV file that `agents.from_csv` names could not be read. Its path is taken relative to the fleet file.",
    ),
    (
        "BW0119",
        "The inventory has no column `name`. Its first line is the head line, which names the columns in any order: \
         name, type, model, phase, critical, memory_limit_mib, cpu_limit. Only `name` is needed.",
    ),
    (
        "BW0120",
        "A value in the inventory cannot be read as what its column holds. An empty value is allowed in every column but \
         `name` and means the default.",
    ),
    (
        "BW0121",
        "The release sets nothing. A release says what becomes different, under `set`: command, env, model, http, boot, \
         tasks, places. What it does not name stays as it is.",
    ),
    (
        "BW0122",
        "A key is written twice in one table. YAML programs differ in which of the two they take, so neither is taken.",
    ),
    (
        "BW0123",
        "An override or a phase names an agent that is not in the fleet. The help names the nearest name that is.",
    ),
    ("BW0124", "Two phases have one name. Reports and commands refer to phases by name."),
    (
        "BW0125",
        "The environment sets a variable that Bellwether sets itself for each instance. These variables are how an agent \
         finds the gateway and is known to it; with another value it would talk past the gateway, and neither its tasks \
         nor its model calls would be counted, fenced or judged.",
    ),
    (
        "BW0126",
        "The model server's address is not of the form `http://HOST:PORT`. A path, a user name or https are not \
         supported there; the port is always written, as Ollama's own default differs from that of http.",
    ),
    ("BW0127", "A word is not one of those that can stand there. The help lists them."),
    ("BW0128", "A name is missing: every agent of a list has one, and every release."),
    ("BW0129", "A release file was given where a fleet file belongs, or the other way round."),
    (
        "BW0130",
        "The inventory has a column that is not known. It is refused, because a misspelt `critical` would silently treat \
         every agent as not critical. Columns whose name begins with `x-` are yours and are ignored.",
    ),
    (
        "BW0131",
        "A row of the inventory is not sound CSV: it has more or fewer values than the head line has columns, or a quote \
         is not closed. An empty value still needs its comma.",
    ),
    (
        "BW0132",
        "A name of a fleet, type, phase, revision, model or variable has characters that cannot stand in a URL, a file \
         name or an environment. Letters, digits, dots, underscores and hyphens are always good.",
    ),
    (
        "BW0133",
        "A trigger is either a limit or the word `off`. Other words for on and off are refused, because they read \
         differently to different people: `memory: false` could mean that the trigger is gone, or that it must not \
         fire. A trigger that is left out has its default in force.",
    ),
    (
        "BW0134",
        "The address of the task backend is not of the form `http://HOST:PORT`. It is what agents have as BACKEND_URL \
         where they run without Bellwether; a path, a user name or https are not supported there.",
    ),
    (
        "BW0135",
        "`tasks.mode: relay` and `tasks.backend` belong together: a relay without a backend has nowhere to pass the \
         agents' questions on to, and a backend without a relay would never be asked.",
    ),
    (
        "BW0136",
        "An agent with `tasks: push` gets each task as a POST to its `/execute`, so its instances must serve HTTP on the \
         PORT that they are given, and say so by `http: true`. An agent that asks for its tasks has `tasks: pull`, which \
         is the default.",
    ),
    (
        "BW0137",
        "`places` bounds how many tasks the gateway posts to one instance at once. It belongs to `tasks: push`, beside it \
         or in what the agent inherits it from. An agent that asks for tasks bounds itself by what it asks for.",
    ),
    (
        "BW0138",
        "The synthetic task that an instance must answer before it gets traffic is said by `ready: {prompt: TEXT}`, or by \
         `ready: {fields: {…}}` for agents that want more than a prompt; by one of the two, and with at least one field. \
         `id`, `attempt` and `checkpoint` are the gateway's own.",
    ),
    (
        "BW0139",
        "`tasks: push` has the gateway post tasks from its own queue, which there is with `tasks.mode: queue` alone. An \
         agent that takes requests only has `tasks: none`.",
    ),
    (
        "BW0201",
        "The release is named like the revision that runs now. A name stands for one content: if `v2` runs, another \
         `v2` could not be told from it in any report. If nothing differs, the release is rolled out already.",
    ),
    (
        "BW0202",
        "The release sets only what the agents already have, so there is nothing to roll out. Revisions are compared by \
         content: command, environment, model, HTTP, boot time and how tasks reach it.",
    ),
    (
        "BW0203",
        "The fleet does not fit into its memory even as it runs now, so there is no room to start anything beside it. \
         The numbers are measured peaks, or assumptions where nothing was measured; declared limits of agents are caps \
         on them. They are taken closely, as ample headroom did not fit either.",
    ),
    (
        "BW0204",
        "At some point of the rollout the new instance of an agent would not fit beside the old one, even if every old \
         instance that is no longer needed were stopped. An agent is never stopped before its successor is proven, so \
         the rollout is refused. The numbers say how much is missing.",
    ),
    (
        "BW0205",
        "The machine has no more memory than `host.reserve` leaves to everything else. What counts is the smaller of \
         what is declared and what is there.",
    ),
    (
        "BW0206",
        "The speed divides the bakes and the validation of a plan, and no other time. It is a number above 0; 1 is real \
         time.",
    ),
    (
        "BW0207",
        "How much memory the machine has is neither declared in the fleet file nor to be found out here. Without it no \
         plan can promise to stay within it.",
    ),
    (
        "BW0208",
        "Old instances that are declared to stay warm go on asking for work, and together with the agents that work \
         they would use more than 85 % of the machine's CPUs. The CPU trigger stands at 90 %. Frozen instances use no \
         CPU and are back within seconds; with `standby: auto` the plan freezes as few as it must.",
    ),
    (
        "BW0209",
        "From some step of the rollout the way back would take longer than the 60 s that a rollback may take until all \
         traffic is on blue (R47). Warm instances are back at once; those that the plan had to stop, or that are \
         declared stopped, have to boot first, a bounded number at a time. More memory keeps more of them warm. Where \
         a longer way back is acceptable, `rollout.undo_max` says so. A boot that was never measured is taken to last \
         a third of the agent's declared `boot`.",
    ),
    (
        "BW0210",
        "The release has the gateway post tasks to agents that serve no HTTP: neither it nor the fleet file says \
         `http: true` of them, or it takes away the HTTP of agents that tasks are posted to. A task that is pushed is a \
         POST to the instance's `/execute`. With `tasks.mode` other than `queue` there is nothing to post at all.",
    ),
    (
        "BW0301",
        "The gateway or the control API cannot listen on its address, most often because another process does. \
         `ss -ltnp` names that process; --listen and --control choose other addresses. Nothing was started.",
    ),
    (
        "BW0302",
        "Two supervisors on one state directory would each undo what the other does, so the second one is refused. \
         The message names the process that holds the lock. `serve --take-over` kills it, waits until it and its \
         children are gone, and adopts the agents, which run on meanwhile.",
    ),
    (
        "BW0303",
        "The state directory is not usable: it cannot be written, it holds files of something else, it belongs to \
         another fleet, or a file in it cannot be read. Nothing in it was changed.",
    ),
    (
        "BW0304",
        "No controller answers at the address. Either none runs (`bellwether serve --fleet FILE` starts one) or it \
         runs at another address: name it with --control or in BELLWETHER_CONTROL.",
    ),
    (
        "BW0305",
        "Something answers at the controller's address, and not as a controller of this version would. Check that \
         the address is the controller's and not the gateway's, and that both sides are of one version.",
    ),
    (
        "BW0306",
        "The result could not be written to where standard output leads: a full disk, or a reader that went away.",
    ),
    ("BW0307", "The operating system gave no threads or file descriptors to start with. `ulimit -a` shows the limits."),
    (
        "BW0308",
        "A process that the demo depends on did not start or did not end as it should. Its log in the demo's state \
         directory says why; --keep leaves that directory in place.",
    ),
    (
        "BW0309",
        "Not all agents of the demo became ready in time. The logs in the state directory say what the others wait \
         for; a machine that is busy with something else is the usual reason.",
    ),
    ("BW0310", "The demo was interrupted. Every process that it had started was ended."),
    ("BW0311", "The demo could not write its files. It works in the temporary directory, TMPDIR where that is set."),
    (
        "BW0312",
        "Only this machine may reach the gateway and the control API, which trust whoever reaches them. Addresses in \
         127.0.0.0/8 and [::1] are accepted.",
    ),
    (
        "BW0313",
        "The gateway or the controller did not answer in time, or died again and again before it did. Its log in the \
         state directory says why. Agents that run already were left as they are.",
    ),
    (
        "BW0314",
        "Instances were told to end, then killed, and are still there. The operating system cannot end a process that \
         waits for a device or a network file system; it goes as soon as that answers.",
    ),
    ("BW0315", "The operating system refused something that the supervisor needs; the cause names it."),
    ("BW0316", "The address given with --ollama is not of the form `http://HOST:PORT`."),
    (
        "BW0317",
        "The commands under `bellwether internal` are what `bellwether serve` starts: they inherit their listener and \
         the lock of the state directory from it, and end with it.",
    ),
    (
        "BW0318",
        "The gateway or the controller met an error that it cannot work with, and stopped; the cause names it. The \
         supervisor starts it again, with growing pauses. Traffic needs only the gateway.",
    ),
    (
        "BW0319",
        "The command line is not one that this program knows: a command or flag that does not exist, one that is \
         missing, or a value that cannot be read. `bellwether help COMMAND` shows all that a command takes. Nothing was \
         done.",
    ),
    (
        "BW0320",
        "There is no such code. Codes are `BW` and four digits, as an error shows them in brackets; `bellwether \
         explain` lists them all. One that an earlier version gave may be gone, and is never given to something else.",
    ),
    (
        "BW0321",
        "`bellwether init` does not write over a file that is there, because nobody could get back what was in it. \
         --output names another file, --force replaces this one.",
    ),
    (
        "BW0322",
        "The file that a command was asked to write could not be written. The cause is the operating system's; check \
         the path, and who may write there.",
    ),
    (
        "BW0323",
        "What `bellwether init` found does not make a fleet file that this program would accept, so it wrote none. The \
         findings say what is in the way, such as two agents of one name in the inventory.",
    ),
    ("BW0330", "The demo's fleet has four phases; --fault-phase is one of them, counted from 1."),
    (
        "BW0331",
        "`demo --fault ollama-down` ends the simulated model server and starts it again. A model server that somebody \
         else runs is not the demo's to end.",
    ),
    (
        "BW0332",
        "`bellwether upgrade` asks the supervisor that runs, over the socket supervisor.sock in its state directory. Nobody \
         answers there: --state names another directory than that of the `serve` that runs, or none runs. Then start \
         `serve` with the new program; it adopts the agents.",
    ),
    (
        "BW0333",
        "The program that is to take over was run once, to say what it reads and speaks, and could not be run or gave no \
         such answer. It is for another machine, not executable, or no Bellwether that knows upgrades. Nothing was touched.",
    ),
    (
        "BW0334",
        "The program that is to take over could not work with what is there: it knows only an older form of a store, or \
         speaks another version of a link whose other end stays. Nothing was touched. What was written by a newer program \
         is not read by an older one; the way back is a backup from before. Where only a link differs, a restart of `serve` \
         with the new program does it; agents run on meanwhile.",
    ),
    ("BW0335", "Another `bellwether upgrade` of the same fleet is under way. There is one at a time."),
    (
        "BW0336",
        "The new program was started and did not come to serve. What ran before goes on: a gateway gives its place away only \
         to one that asks for it, and one that dies afterwards is replaced by a gateway of the program before. The help \
         says what runs, and the logs in the state directory say why the new one did not.",
    ),
    (
        "BW0340",
        "A freeze window of `rollout.freeze` cannot be read. Each has a `name`, a `from` and a `to`: two times of the week \
         (`\"Fri 16:00\"` to `\"Mon 08:00\"`, in quotes because of the colon) for one that comes every week, also over midnight \
         and over the end of the week, or two dates with a time (2026-12-23T00:00) for one that comes once. They are meant \
         in `rollout.timezone`. Windows may overlap, and together they must leave some time of the week.",
    ),
    (
        "BW0341",
        "The time zone of `rollout.timezone` is not known. Names such as Europe/Berlin come from the system's own time \
         zones, below /usr/share/zoneinfo; small containers lack them until the package tzdata is installed. A fixed \
         difference such as +01:00, and UTC, need nothing. Abbreviations such as CEST are not read: several zones share \
         them.",
    ),
    (
        "BW0342",
        "Baseline, bakes and validation alone take longer than `rollout.window`, so the rollout could never be done before \
         its window closes. Moving the agents comes on top, and a bake whose verdict is open is extended: the help names \
         what the plan may take at most. A window is measured from the start of the rollout by the clock, pauses and \
         freezes included; `rollout.at_end` says what happens when it closes.",
    ),
    (
        "BW0343",
        "The fleet file has other agents than this state directory, or gives one of them another type. What runs was not \
         touched, and nothing was started. Agents are moved by rollouts, and cannot be added to a fleet or taken out of it \
         yet: put the file back as it was, or end this fleet (`serve --stop-agents`, then Ctrl-C) and serve the new one \
         from a state directory of its own.",
    ),
    (
        "BW0344",
        "`rollout.at_end` says what happens to a rollout that is not done when its window closes, and the file sets no \
         `rollout.window`. Write the time within which a rollout has to be done, or leave `at_end` out.",
    ),
    (
        "BW0345",
        "The disk of the state directory is full. While a rollout is under way both stores hold room back for its way back, \
         and live on that: no rollout starts or goes forward, no new task is taken, and samples are left out; agents work on, \
         tasks end, and a rollback goes to its end, if need be before it can be recorded. Make room, then resume the \
         rollout; it holds the room back again first. docs/operations.md says how much that is.",
    ),
    (
        "BW0346",
        "A store was written by a later version, which may have put things into it that this one would misread, or the file \
         is not a store at all. Nothing was changed. The cause names the version that wrote it. The ways back are to use \
         that version again, to restore the copy that it kept beside the store before it changed its form, or to restore a \
         backup that was made before; with the last two, what happened since is lost.",
    ),
    (
        "BW0347",
        "A store is damaged: something in it is not what was written, by the checksums that it carries or by those of SQLite. \
         It is left as it is, because a guess could send traffic to the wrong place. Without its journal there is no \
         controller, and traffic and agents go on; without its store there is no gateway. `bellwether restore DIR` puts back \
         a backup and keeps the damaged files aside.",
    ),
    (
        "BW0348",
        "The gateway runs and the controller cannot: what stands in its way stays until a person has done something, most \
         often because its journal is damaged. `serve` goes on for the sake of the agents that run, whose tasks and model \
         calls need the gateway alone, and tries the controller again every 30 s.",
    ),
    (
        "BW0350",
        "No backup was made, and nothing is left of it. It is written to a folder that is not there yet: a backup is never \
         written over. While `serve` runs the controller writes it, as the user that it runs as.",
    ),
    (
        "BW0351",
        "What was named cannot be restored: it is no backup, it is not whole, a file in it is not what was written, or it was \
         made by a version whose stores this one does not know. Nothing was changed.",
    ),
    (
        "BW0352",
        "Nothing is restored while agents of the state directory run: they hold work and identities that the stores, once put \
         back, know nothing of. End them first. After a restore `serve` starts all of them anew.",
    ),
    (
        "BW0353",
        "The files of a restore could not be written or moved. Before the first is moved nothing has changed; after that the \
         next `serve` or `restore` on the directory brings it to its end before it does anything else.",
    ),
    (
        "BW0360",
        "A variable from which an agent reads its configuration has a value that it cannot use. Correct it, or \
         leave it out to get its default.",
    ),
    ("BW0361", "The file with an agent's system prompt could not be read. The cause is the operating system's."),
    (
        "BW0362",
        "The agent could not listen on the port that it was given, most often because something else does. Without \
         PORT it serves nothing.",
    ),
    ("BW0363", "The agent was told to hold no task at once, so that it could never work. --concurrency is 1 or more."),
    ("BW0364", "An agent met an error of the operating system at its start or end; the cause names it."),
    (
        "BW0365",
        "--fault or BELLWETHER_FAULT makes an agent faulty on purpose, so that a rollback can be rehearsed. The kinds \
         are errors[=SHARE], latency[=TIMES], leak[=RATE[:MOST]], crash[=SECONDS], hang and swallow; docs/agent.md says \
         what each does. An empty value means no fault.",
    ),
    (
        "BW0366",
        "An agent that was asked to answer by itself, with --once or --lines, found no model server at the address named. \
         Start Ollama, or say where it is with --ollama, OLLAMA_BASE_URL, OLLAMA_URL or OLLAMA_HOST; the first that is \
         set counts.",
    ),
    (
        "BW0367",
        "The model server does not have the model. Names count with their tag: `phi3` means `phi3:latest`. Nothing is \
         pulled by itself.",
    ),
    (
        "BW0368",
        "An agent that was asked to answer by itself, with --once or --lines, could not. The cause is the model server's, \
         or that the answer was empty.",
    ),
    ("BW0369", "What was to be put to the model could not be read from standard input. It must be UTF-8 text."),
    ("BW0370", "The rate at which the load generator submits tasks is a number above 0, in tasks per second."),
    (
        "BW0371",
        "The address to which the load generator submits is not of the form `http://HOST:PORT`. It is the \
         gateway's address for tasks, not the controller's.",
    ),
    (
        "BW0372",
        "The load generator was interrupted before every task that it had submitted was settled, so its account is \
         not complete and proves nothing.",
    ),
    (
        "BW0373",
        "The load generator was not told for whom to submit tasks: every agent of a fleet file, a type, or single \
         agents.",
    ),
    ("BW0375", "The load generator met an error of the operating system; the cause names it."),
    (
        "BW0380",
        "The simulated Ollama could not listen where it was told to, most often because something else does, such as \
         a real Ollama. --listen names another address; port 0 takes any that is free.",
    ),
    (
        "BW0381",
        "The file given with --params is not a JSON object of times in microseconds, or has a key that the simulated \
         Ollama does not know.",
    ),
    (
        "BW0390",
        "No gateway answers at the address, or it broke off before it did. Either none runs (`bellwether serve --fleet \
         FILE` starts one and prints its address), or it runs elsewhere: name it with --gateway or in \
         BELLWETHER_GATEWAY, in the form `http://HOST:PORT`. It is the gateway's address, not the controller's.",
    ),
    (
        "BW0391",
        "Something answers at the gateway's address, and not as a gateway of this version would: another program, the \
         controller, the model server, or a `bellwether serve` of an earlier version.",
    ),
    (
        "BW0392",
        "No task has this id. Either it never had one, or the task ended so long ago that it was forgotten: what has \
         ended is kept for `tasks.retention`, and within `tasks.kept`, of the fleet file.",
    ),
    (
        "BW0393",
        "The fleet file says that this gateway takes no tasks. With `tasks.mode: none` there are only pushed requests. With \
         `relay` tasks are submitted to the backend that `tasks.backend` names; those that came through the gateway can be \
         listed, shown, cancelled and retried here.",
    ),
    (
        "BW0394",
        "What was asked does not fit how the task stands. A task that has ended cannot be cancelled; only one that failed, \
         expired or was cancelled can be queued again; and an id that belongs to a task cannot be given to a task of \
         another content, because the second one would be taken for a repetition of the first and be lost.",
    ),
    (
        "BW0395",
        "The gateway does not take the task as it is: the fleet has no such agent or type, the task is larger than 1 MiB, \
         or one of its fields is not of the form that the queue reads (`priority`, `delay`, `deadline`, `attempts`, `id`). \
         The cause is the gateway's own sentence. Nothing was queued.",
    ),
    (
        "BW0396",
        "What should be submitted could not be read, or is no task: a file that is not there, a line that is no JSON object, \
         a payload that is no JSON, a field that is given twice, nobody to do it, or nothing to do. Nothing was queued, \
         other lines of the same file apart.",
    ),
    (
        "BW0397",
        "The gateway has no room for more tasks, or its store cannot be written for the moment. Nothing is lost by that: \
         what was not taken is refused. Agents make room as they work; `tasks.waiting` and `tasks.waiting_bytes` of the \
         fleet file are the bounds. `tasks submit --from` and `tasks retry` wait for room by themselves, for as long as \
         --patience says.",
    ),
    (
        "BW0398",
        "The task that was waited for has ended without a result: its attempts are used up, it was not begun within its \
         deadline, or somebody cancelled it. The cause is what the last attempt said. `bellwether tasks retry` queues it \
         again with a fresh budget of attempts.",
    ),
    (
        "BW0401",
        "The controller refused what it was asked, and says why: a verb that does not fit the state of the \
         rollout, an agent or a phase that is not there, or another rollout under way.",
    ),
    ("BW0402", "No rollout was ever started in this state directory, so there is none to show, watch or steer."),
    (
        "BW0403",
        "The fleet file says `drill: required`, and no drill of this release succeeded in this state directory since the \
         fleet runs what it runs. `bellwether drill` moves the first agents of the release, takes them back at once, and \
         times it: all traffic on blue within 60 seconds, validated within 120 more, 3.5 minutes in all. A rollout that \
         needs its rollback then does not try it for the first time.",
    ),
    (
        "BW0410",
        "What was asked for was meant for a rollout that stood elsewhere when it was looked at: somebody else, or the \
         rollout itself, was faster. To do it all the same could do what nobody meant, such as ending the next phase's \
         bake, or lifting a pause that another person asked for. Nothing was changed. Look at the rollout again, and ask \
         again if it is still wanted. A rollback and a pause are never refused for this reason.",
    ),
    (
        "BW0411",
        "A request carried an idempotency key (the header `Idempotency-Key`) under which something else was asked for \
         before. A key stands for one request, so that it can be repeated when its answer was lost. Nothing was changed. \
         Make up a key for each thing that is asked for.",
    ),
    (
        "BW0412",
        "The phase says `approval: other` in the fleet file, so that whoever starts a rollout does not approve it as well. \
         People are told apart by the name that they give (`--by`, by default $USER). Have somebody else approve it; to \
         reject it, or to roll back, nobody else is needed.",
    ),
    (
        "BW0420",
        "The fleet file, or a list of agents that it names, is not what `serve` runs: it was changed since `serve` \
         started. A rollout would be planned for the fleet that runs, and not for the file that lies before you. Start \
         `serve` again to have the file taken (agents run on meanwhile and are adopted), put the file back, or say \
         --with-running-fleet if the fleet that runs is what you mean.",
    ),
    (
        "BW0421",
        "A freeze window of the fleet file is open: no rollout begins in it, and one that runs goes no further; it is still \
         judged, and a rollback, a part of one, a pause and a commit by hand are always possible. What waits for the end of \
         the window goes on by itself. --override-freeze REASON lets this rollout heed no freeze window; who did that and \
         why stands in the journal, in `rollout show` and in the report.",
    ),
    (
        "BW0422",
        "Begun now, the rollout would stand still in a freeze window for so long that its own window (`rollout.window`) \
         would close before it was done. Begin it after the freeze, lengthen the window, or let it heed no freeze with \
         --override-freeze REASON.",
    ),
    (
        "BW0440",
        "`simulate --rate` is how many tasks a second come in, all agents together: a number above 0, up to 10,000.",
    ),
    (
        "BW0441",
        "In `simulate` one revision is rolled out, and at most one thing can be wrong with it: with two, nobody could tell \
         which of them a trigger saw. Faults of the rest, such as deaths or crashes of the controller, can be added to it.",
    ),
    (
        "BW0442",
        "The phase in `--fault KIND@phaseN` is counted from 1, as the fleet file lists them. A phase whose agents the release \
         does not change is left out of the rollout.",
    ),
    (
        "BW0443",
        "A simulated run broke one of the promises that must hold at every moment: one holder of an agent's traffic, no \
         task lost or completed twice, memory below the ledger's ceiling, a batch never half swapped, replayed state equal to \
         live state, and an end within a bound. That is a bug of Bellwether and not of the fleet file. Fleet file, release \
         file and seed are enough to have it again.",
    ),
    (
        "BW0444",
        "`bench model` measures addresses such as http://127.0.0.1:11434, with a path if the API stands below one; `{client}` \
         in the path stands for the name of the client that calls, as in http://127.0.0.1:7400/m/{client}. TLS is not \
         spoken, because it would be measured along; measure behind what ends it.",
    ),
    (
        "BW0445",
        "A figure of the load that `bench model` is to make is out of its range. At least one client, one model, one round \
         and a tenth of a second are needed to measure anything; the upper bounds keep a slip of the hand from taking the \
         machine down. The help names the flag and the range.",
    ),
    (
        "BW0446",
        "Before it measures, `bench model` asks each address once for each model. Nobody listens at this one, or its name \
         leads nowhere. Nothing was measured: an address that is away would look like one that fails very fast.",
    ),
    (
        "BW0447",
        "Before it measures, `bench model` asks each address once for each model. This one answers 404: it has no such model, \
         or nothing at the path of the API. The cause is what it said. Ollama takes a name without a tag as `:latest`; \
         `--api openai` asks at /v1/chat/completions, for servers that have no /api/chat. Nothing was measured.",
    ),
    (
        "BW0448",
        "Before it measures, `bench model` asks each address once for each model, and waits up to two minutes, since a model \
         may have to be loaded. This call was refused, failed, or got an answer that is not one of the dialect. The cause is \
         what was said. Nothing was measured.",
    ),
    (
        "BW0449",
        "The load client of `bench model` could not do its work: it was interrupted before the first window was open, or the \
         operating system gave it no open files or signals. It says nothing about what was to be measured. Interrupted later, \
         it shows what it has until then, with exit code 1.",
    ),
    (
        "BW0450",
        "`gateway` cannot listen where it was told to. Most often something else uses the port: another gateway, or Ollama \
         itself, which uses 11434. The gateway's own port is 11435 unless --listen says otherwise; port 0 takes any that is free.",
    ),
    (
        "BW0451",
        "`gateway --ollama` takes the URL of a model server: http://, a host and a port, and a path if the API is below one. \
         There is no TLS towards the model server; put a proxy in between where it is needed. The URL must not hold a user name \
         or a secret, because it is shown. =N behind the URL gives this server N slots.",
    ),
    (
        "BW0452",
        "A slot is a call that the model server computes at once. Ollama has as many per loaded model as OLLAMA_NUM_PARALLEL \
         says. With no slot no call could ever be passed on. With more than the server has, calls wait inside of it, where nobody \
         keeps them in order.",
    ),
    (
        "BW0453",
        "`gateway --bypass` passes everything straight through to one model server. Several --ollama stand behind one queue, which \
         knows what each of them has loaded and how many slots it has; without the queue nobody chooses among them.",
    ),
    (
        "BW0454",
        "The address where the gateway would listen is the one where it would look for the model server. Each request would come \
         back to it as another one, until nothing is left. Let one of the two use another port.",
    ),
    (
        "BW0455",
        "`gateway` has ended by itself. The cause names what failed: a thread, or the operating system's limits. It keeps nothing \
         on the disk, so that it can be started again at once. Clients that are pointed at Ollama itself meanwhile get the same \
         answers, in Ollama's own order.",
    ),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// All codes in string literals below `folder`, this file and tests apart.
    fn used_below(folder: &Path, codes: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                used_below(&path, codes);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("core/src/explain.rs") {
                let text = fs::read_to_string(&path).unwrap();
                codes.extend(text.split('"').filter(|part| is_code(part)).map(str::to_owned));
            }
        }
    }

    fn is_code(text: &str) -> bool {
        text.strip_prefix("BW").is_some_and(|digits| digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()))
    }

    #[test]
    fn every_code_that_the_sources_use_is_explained_and_none_besides() {
        let mut used = BTreeSet::new();
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for member in fs::read_dir(crates).unwrap() {
            let sources = member.unwrap().path().join("src");
            if sources.is_dir() {
                used_below(&sources, &mut used);
            }
        }
        let explained: BTreeSet<String> = CODES.iter().map(|(code, _)| (*code).to_owned()).collect();
        let unexplained: Vec<_> = used.difference(&explained).collect();
        assert!(unexplained.is_empty(), "add a paragraph for {unexplained:?}");
        let unused: Vec<_> = explained.difference(&used).collect();
        assert!(unused.is_empty(), "nothing gives {unused:?} any more: remove the paragraph, and never reuse the code");
    }

    #[test]
    fn codes_stand_in_order_and_are_found_however_they_are_typed() {
        assert!(CODES.is_sorted_by(|(a, _), (b, _)| a < b));
        assert_eq!(explain("bw0107"), explain("BW0107"));
        assert_eq!(explain("BW9999"), None);
        assert_eq!(nearest("BW0170"), Some("BW0107"));
        assert_eq!(nearest("bw0102x"), Some("BW0102"));
        assert_eq!(nearest("BW9999"), CODES.last().map(|(code, _)| *code));
        assert_eq!(nearest("what"), None);
    }
}
