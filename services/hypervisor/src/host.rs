//! What the kernel says of the host.

use std::io;

use acp_base::ByteSize;

/// A look at `/proc`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct HostLook {
    /// `MemTotal`.
    pub(crate) memory_total: ByteSize,
    /// `MemAvailable`.
    pub(crate) memory_available: ByteSize,
    /// Load average over one minute.
    pub(crate) load_1: f64,
    /// Seconds since boot.
    pub(crate) uptime_s: u64,
    /// Ticks of all processors since boot: busy, and all.
    pub(crate) ticks: (u64, u64),
}

impl HostLook {
    /// Reads everything.
    pub(crate) fn take() -> io::Result<Self> {
        let text = |name: &str| std::fs::read_to_string(format!("/proc/{name}"));
        let memory = text("meminfo")?;
        Ok(Self {
            memory_total: memory_line(&memory, "MemTotal:"),
            memory_available: memory_line(&memory, "MemAvailable:"),
            load_1: first_number(&text("loadavg")?),
            uptime_s: whole_seconds(&text("uptime")?),
            ticks: ticks(&text("stat")?),
        })
    }

    /// The share of all processors in use since an earlier look, 0 to 100.
    pub(crate) fn cpu_percent_since(&self, earlier: &Self) -> f64 {
        let busy = self.ticks.0.saturating_sub(earlier.ticks.0);
        let all = self.ticks.1.saturating_sub(earlier.ticks.1);
        if all == 0 { 0.0 } else { percent(busy, all) }
    }
}

/// `part` of `whole` in percent, to a tenth.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
    f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0
}

/// The kernel's boot id: another after each boot of the host.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// What new programs could use now.
pub(crate) fn memory_available() -> io::Result<ByteSize> {
    Ok(memory_line(&std::fs::read_to_string("/proc/meminfo")?, "MemAvailable:"))
}

fn memory_line(text: &str, key: &str) -> ByteSize {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    ByteSize(line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10)
}

fn first_number(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

fn whole_seconds(text: &str) -> u64 {
    text.split('.').next().and_then(|word| word.trim().parse().ok()).unwrap_or(0)
}

/// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal, then guest times, which user has already.
fn ticks(text: &str) -> (u64, u64) {
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
    let all: u64 = fields.iter().sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    (all - idle, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let look = HostLook::take().expect("/proc is mounted");
        assert!(look.memory_total >= look.memory_available && look.memory_available.0 > 0, "{look:?}");
        assert!(look.ticks.1 > 0 && look.uptime_s > 0, "{look:?}");
        assert_eq!(boot_id().expect("a boot id").len(), 36);
    }

    #[test]
    fn use_is_counted_between_two_looks() {
        let earlier = HostLook { ticks: ticks("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1"), ..HostLook::default() };
        assert_eq!(earlier.ticks, (20, 100));
        let later = HostLook { ticks: (70, 200), ..HostLook::default() };
        assert!((later.cpu_percent_since(&earlier) - 50.0).abs() < f64::EPSILON);
        assert!(later.cpu_percent_since(&later).abs() < f64::EPSILON);
    }
}
