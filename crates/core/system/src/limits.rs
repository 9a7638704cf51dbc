//! Whether the host has the memory for one more system.

use acp_base::ByteSize;

use crate::command_line::Accelerator;

/// What QEMU itself may take beside the guest's memory under TCG: the translation buffer (bounded by
/// [`crate::command_line::TRANSLATION_BUFFER_MIB`]), device state, threads and page cache of the cgroup. Measured: a guest
/// of 256 MiB reached 490 MiB before the buffer was bounded.
const OVERHEAD_TCG: ByteSize = ByteSize::mib(350);

/// The same under KVM, which translates nothing.
const OVERHEAD_KVM: ByteSize = ByteSize::mib(160);

/// The memory limit of QEMU's cgroup.
pub fn memory_limit(memory: ByteSize, accelerator: Accelerator) -> ByteSize {
    let overhead = match accelerator {
        Accelerator::Tcg => OVERHEAD_TCG,
        Accelerator::Kvm => OVERHEAD_KVM,
    };
    ByteSize(memory.0.saturating_add(overhead.0))
}

/// A system that runs or is about to: what it may take and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Its memory limit.
    pub limit: ByteSize,
    /// What its cgroup uses now.
    pub used: ByteSize,
}

/// The host's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    /// What the kernel says new programs could use (`MemAvailable`).
    pub available: ByteSize,
    /// What is kept for the host itself.
    pub reserve: ByteSize,
}

/// The host lacks memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it needs {needed} ({memory} for the guest, the rest for QEMU under {accelerator}) and the host has {free} to give: \
     {available} available, less {promised} that running systems were promised and do not use yet, less {reserve} \
     reserved for the host; stop another system or give this one less memory"
)]
pub struct Shortage {
    /// The limit its cgroup would have.
    pub needed: ByteSize,
    /// The guest's memory.
    pub memory: ByteSize,
    /// What it would run on.
    pub accelerator: Accelerator,
    /// What could be given.
    pub free: ByteSize,
    /// `MemAvailable`.
    pub available: ByteSize,
    /// Promised to others and not used yet.
    pub promised: ByteSize,
    /// Kept for the host.
    pub reserve: ByteSize,
}

/// Whether a guest with this memory fits beside the systems that run.
pub fn check(memory: ByteSize, accelerator: Accelerator, host: HostMemory, others: &[Promise]) -> Result<(), Shortage> {
    let promised = others.iter().fold(0_u64, |sum, one| sum.saturating_add(one.limit.0.saturating_sub(one.used.0)));
    let free = host.available.0.saturating_sub(promised).saturating_sub(host.reserve.0);
    let needed = memory_limit(memory, accelerator);
    if needed.0 <= free {
        return Ok(());
    }
    Err(Shortage {
        needed,
        memory,
        accelerator,
        free: ByteSize(free),
        available: host.available,
        promised: ByteSize(promised),
        reserve: host.reserve,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: HostMemory = HostMemory { available: ByteSize::gib(2), reserve: ByteSize::mib(256) };

    #[test]
    fn counts_what_was_promised_and_is_not_used() {
        let idle = Promise { limit: ByteSize::mib(1024), used: ByteSize::mib(24) };
        assert_eq!(check(ByteSize::mib(256), Accelerator::Tcg, HOST, &[idle]), Ok(()));
        let shortage = check(ByteSize::mib(512), Accelerator::Tcg, HOST, &[idle]).expect_err("862 MiB do not fit");
        assert_eq!(shortage.free, ByteSize::mib(2048 - 1000 - 256));
        assert!(shortage.to_string().contains("it needs 862MiB (512MiB for the guest"), "{shortage}");
    }

    #[test]
    fn a_system_above_its_limit_takes_nothing_back() {
        let over = Promise { limit: ByteSize::mib(100), used: ByteSize::gib(9) };
        assert_eq!(check(ByteSize::mib(256), Accelerator::Kvm, HOST, &[over]), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn what_is_let_in_never_exceeds_what_is_there(
            memory in 0_u64..1 << 36, available in 0_u64..1 << 36, reserve in 0_u64..1 << 36, limit in 0_u64..1 << 36, used in 0_u64..1 << 36,
        ) {
            let host = HostMemory { available: ByteSize(available), reserve: ByteSize(reserve) };
            let other = Promise { limit: ByteSize(limit), used: ByteSize(used) };
            if check(ByteSize(memory), Accelerator::Tcg, host, &[other]).is_ok() {
                let total = memory_limit(ByteSize(memory), Accelerator::Tcg).0 + reserve + limit.saturating_sub(used);
                proptest::prop_assert!(total <= available);
            }
        }
    }
}
