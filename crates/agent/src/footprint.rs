//! Gives back memory that an idle agent holds but does not use. What is only Linux's or glibc's is in here; elsewhere
//! nothing happens.
//!
//! An agent is one command of a large binary. Reading the command line and starting the runtime touch megabytes of
//! its text that are never needed again, and the kernel maps sixteen pages around each one that is touched. Such pages
//! are the file's and shared, so they cost the machine little, but every agent is charged for them, also against a
//! memory limit. Dropped from this process's tables they are still in the page cache: the few that the idle
//! loop needs come back by a minor fault each.

/// Drops all pages of files that are mapped and unchanged, and what the heap holds free. Does nothing if the process
/// has a second thread. Takes a fraction of a millisecond; meant for an agent that has become idle.
pub fn release_idle_memory() {
    #[cfg(target_os = "linux")]
    linux::release();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        fs,
        io::{self, BufRead, BufReader},
        ops::Range,
    };

    use rustix::mm::{Advice, madvise};

    pub(super) fn release() {
        // Without `/proc` there is nothing to go by, and nothing is dropped.
        if let Err(error) = drop_unchanged() {
            tracing::debug!(%error, "no pages were dropped");
        }
        trim_heap();
    }

    fn drop_unchanged() -> io::Result<()> {
        let status = fs::read_to_string("/proc/self/status")?;
        if status.lines().any(|line| line.strip_prefix("Threads:").is_some_and(|count| count.trim() == "1")) {
            // Read in small pieces: the whole would be a good part of the heap that is to be small.
            unchanged(BufReader::with_capacity(4096, fs::File::open("/proc/self/smaps")?))?
                .into_iter()
                .for_each(drop_pages);
        }
        Ok(())
    }

    /// Mappings of files that cannot be written to and of which no page was changed since: relocated data, which is
    /// read-only as well, has such pages, and so has text with a debugger's breakpoint.
    pub(super) fn unchanged(mut smaps: impl BufRead) -> io::Result<Vec<Range<usize>>> {
        let mut found = Vec::new();
        let mut candidate = None;
        let mut line = String::new();
        while smaps.read_line(&mut line)? > 0 {
            if let Some(field) = line.strip_prefix("Anonymous:") {
                let is_nought = field.split_whitespace().next() == Some("0");
                found.extend(candidate.take().filter(|_| is_nought));
            } else if let Some(header) = header(&line) {
                candidate = header;
            }
            line.clear();
        }
        Ok(found)
    }

    /// `55d0-55e0 r-xp 00001000 fe:00 326279   /usr/bin/x`. None if it is not the head of a mapping, None inside if it
    /// is one that stays.
    fn header(line: &str) -> Option<Option<Range<usize>>> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        let range = address(start)?..address(end)?;
        let is_read_only = matches!(words.next()?, "r-xp" | "r--p");
        let is_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
        Some((is_read_only && is_file).then_some(range))
    }

    #[expect(unsafe_code, reason = "only the kernel can drop pages, and it is told by address")]
    fn drop_pages(range: Range<usize>) {
        let start = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the range is a private mapping of a file, cannot be written to and holds no page of its own, so that what
        // is read there after this is the file's bytes as before. The mapping is still the one that was
        // looked at: this is the only thread, and it has mapped nothing since.
        let dropped = unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) };
        if let Err(error) = dropped {
            tracing::debug!(%error, "pages were not dropped");
        }
    }

    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the C library's allocator is asked by its own function")]
    fn trim_heap() {
        unsafe extern "C" {
            safe fn malloc_trim(keep: usize) -> std::ffi::c_int;
        }
        malloc_trim(0);
    }

    #[cfg(not(target_env = "gnu"))]
    fn trim_heap() {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_nobody_changed_are_dropped() {
        let smaps = "\
1000-2000 r-xp 00001000 fe:00 7                   /bin/x\nRss: 4 kB\nAnonymous:             0 kB\nVmFlags: rd ex\n\
2000-3000 r--p 00002000 fe:00 7                   /bin/x\nAnonymous:             4 kB\nVmFlags: rd\n\
3000-4000 rw-p 00003000 fe:00 7                   /bin/x\nAnonymous:             0 kB\n\
4000-5000 rw-p 00000000 00:00 0                   [heap]\nAnonymous:             0 kB\n\
5000-6000 r--p 00000000 00:00 0                   [vvar]\nAnonymous:             0 kB\n\
6000-7000 r--p 00000000 00:00 0 \nAnonymous:             0 kB\n\
7000-8000 r--p 00000000 fe:00 8                   /lib/y\nAnonymous:             0 kB\n";
        assert_eq!(linux::unchanged(smaps.as_bytes()).unwrap(), [0x1000..0x2000, 0x7000..0x8000]);
    }

    /// Under a test harness there are threads; so this only shows that it is harmless to ask.
    #[test]
    fn a_process_with_threads_goes_on() {
        release_idle_memory();
        assert!(std::thread::spawn(|| "still here".to_owned()).join().is_ok());
    }
}
