//! A virtual file system of SQLite that puts a [`Disk`] between the store and the real one.
//!
//! Deliberately not here: locks, shared memory and whatever else does not reach a disk; those are the system's own. Real
//! files are not synchronised: what survives a loss of power is what the disk says.
#![expect(unsafe_code, reason = "SQLite takes a file system as a table of C functions")]

use std::{
    ffi::{CStr, CString, OsStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    ptr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use crate::disk::{Disk, Written};

/// A registered file system. It lives as long as the process.
#[derive(Debug)]
pub(crate) struct Vfs {
    name: CString,
    real: *mut sqlite3_vfs,
    disk: Mutex<Disk>,
    /// Whether synchronisations wait.
    held: Mutex<bool>,
    released: Condvar,
}

// SAFETY: `real` points to SQLite's own table, which is never changed after it is registered.
unsafe impl Send for Vfs {}
// SAFETY: as above; everything else is behind the mutex.
unsafe impl Sync for Vfs {}

impl Vfs {
    /// Registers a file system of this name, on an empty disk.
    pub(crate) fn register(name: &str) -> &'static Self {
        let name = CString::new(name).expect("no zero byte");
        // SAFETY: finds the table of the system's own file system, which is always there.
        let real = unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) };
        assert!(!real.is_null(), "SQLite is built for this system");
        let own: &'static Self = Box::leak(Box::new(Self {
            name,
            real,
            disk: Mutex::new(Disk::new(0)),
            held: Mutex::default(),
            released: Condvar::new(),
        }));
        // SAFETY: `real` points to a whole table. Its functions that are kept take no notice of the table they are in.
        let mut table = unsafe { real.read() };
        table.szOsFile += c_int::try_from(size_of::<File>()).expect("small");
        table.pNext = ptr::null_mut();
        table.zName = own.name.as_ptr();
        table.pAppData = ptr::from_ref(own).cast_mut().cast();
        table.xOpen = Some(open);
        table.xDelete = Some(delete);
        // SAFETY: the table and what it points to are leaked, so they live as long as SQLite may use them.
        let result = unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(table)), 0) };
        assert_eq!(result, ffi::SQLITE_OK);
        own
    }

    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has every synchronisation wait, or go on.
    pub(crate) fn hold(&self, is_held: bool) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = is_held;
        self.released.notify_all();
    }

    fn wait_released(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.released.wait_while(held, |held| *held).unwrap_or_else(PoisonError::into_inner));
    }
}

/// What SQLite keeps of an open file; the system's own follows it in memory.
#[repr(C)]
struct File {
    base: sqlite3_file,
    vfs: *const Vfs,
    path: *mut PathBuf,
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The system's own file behind one of ours.
unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: SQLite allocates as many bytes as our table says: ours, then the system's.
    unsafe { file.cast::<u8>().add(size_of::<File>()).cast() }
}

/// Our disk and the file's path on it; `None` for a file without a name, which nobody outlives.
unsafe fn place<'a>(file: *mut sqlite3_file) -> Option<(MutexGuard<'a, Disk>, &'a PathBuf)> {
    // SAFETY: `open` has filled in both, and they live until `close`.
    let (vfs, path) = unsafe { (&*(*file.cast::<File>()).vfs, (*file.cast::<File>()).path.as_ref()) };
    path.map(|path| (vfs.disk(), path))
}

/// Functions that only pass on what SQLite wants of an open file.
macro_rules! pass_on {
    ($($name:ident = $method:ident($($argument:ident: $type:ty),*) $(-> $answer:ty)?;)*) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file, $($argument: $type),*) $(-> $answer)? {
            // SAFETY: the arguments are SQLite's own, for an open file whose table has this function.
            unsafe {
                let real = real(file);
                (*(*real).pMethods).$method.expect("the system's files have it")(real, $($argument),*)
            }
        }
    )*};
}

pass_on! {
    read = xRead(into: *mut c_void, amount: c_int, offset: sqlite3_int64) -> c_int;
    pass_write = xWrite(bytes: *const c_void, amount: c_int, offset: sqlite3_int64) -> c_int;
    pass_truncate = xTruncate(size: sqlite3_int64) -> c_int;
    pass_close = xClose() -> c_int;
    file_size = xFileSize(size: *mut sqlite3_int64) -> c_int;
    lock = xLock(level: c_int) -> c_int;
    unlock = xUnlock(level: c_int) -> c_int;
    check_reserved_lock = xCheckReservedLock(answer: *mut c_int) -> c_int;
    file_control = xFileControl(operation: c_int, argument: *mut c_void) -> c_int;
    sector_size = xSectorSize() -> c_int;
    device_characteristics = xDeviceCharacteristics() -> c_int;
    shm_map = xShmMap(page: c_int, bytes: c_int, extend: c_int, memory: *mut *mut c_void) -> c_int;
    shm_lock = xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    shm_barrier = xShmBarrier();
    shm_unmap = xShmUnmap(delete: c_int) -> c_int;
}

unsafe extern "C" fn open(
    table: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: the table is the one made in `register`, the file has room for ours and the system's, the name is null or ends
    // in a zero byte.
    unsafe {
        let vfs = (*table).pAppData.cast::<Vfs>();
        let path = name.as_ref().map(|name| PathBuf::from(OsStr::from_bytes(CStr::from_ptr(name).to_bytes())));
        (*file).pMethods = ptr::null();
        let opened = path.as_ref().map_or(Ok(()), |path| (*vfs).disk().open(path));
        if let Err(failed) = opened {
            return failed;
        }
        let system = (*vfs).real;
        let result = (*system).xOpen.expect("every file system has it")(system, name, real(file), flags, flags_out);
        if result == ffi::SQLITE_OK {
            let path = path.map_or(ptr::null_mut(), |path| Box::into_raw(Box::new(path)));
            file.cast::<File>().write(File { base: sqlite3_file { pMethods: &raw const METHODS }, vfs, path });
        }
        result
    }
}

unsafe extern "C" fn delete(table: *mut sqlite3_vfs, name: *const c_char, _sync: c_int) -> c_int {
    // SAFETY: as in `open`; a file that is deleted has a name.
    unsafe {
        let vfs = (*table).pAppData.cast::<Vfs>();
        let path = PathBuf::from(OsStr::from_bytes(CStr::from_ptr(name).to_bytes()));
        let deleted = (*vfs).disk().delete(&path);
        if let Err(failed) = deleted {
            return failed;
        }
        let system = (*vfs).real;
        (*system).xDelete.expect("every file system has it")(system, name, 0)
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file is open, and SQLite does not use it again. The path is null or was made by `open`.
    unsafe {
        let path = (*file.cast::<File>()).path;
        let result = pass_close(file);
        if !path.is_null() {
            drop(Box::from_raw(path));
        }
        result
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives as many bytes as it says, for an open file.
    unsafe {
        let (amount_here, offset_here) = (usize::try_from(amount), usize::try_from(offset));
        let content = std::slice::from_raw_parts(bytes.cast::<u8>(), amount_here.expect("not negative"));
        let written = place(file)
            .map_or(Written::Whole, |(mut disk, path)| disk.write(path, offset_here.expect("not negative"), content));
        match written {
            Written::Whole => pass_write(file, bytes, amount, offset),
            Written::Nothing(failed) => failed,
            Written::Part(part) => {
                let result = pass_write(file, bytes, c_int::try_from(part).expect("less than all"), offset);
                if result == ffi::SQLITE_OK { ffi::SQLITE_IOERR_WRITE } else { result }
            }
        }
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let bytes = usize::try_from(size).expect("not negative");
        let failed = place(file).and_then(|(mut disk, path)| disk.truncate(path, bytes).err());
        failed.unwrap_or_else(|| pass_truncate(file, size))
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: `open` has filled in the file system, which lives as long as the process.
    unsafe { (*(*file.cast::<File>()).vfs).wait_released() };
    // SAFETY: the file is open.
    let failed = unsafe { place(file).and_then(|(mut disk, path)| disk.sync(path).err()) };
    failed.unwrap_or(ffi::SQLITE_OK)
}
