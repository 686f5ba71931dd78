//! How glibc's allocator keeps what was freed, and how it is made to give it back.

/// Makes freed memory go back to the system. By default glibc raises its threshold for blocks of their own to the largest
/// one ever freed (19 MiB, for a password's hash) and keeps an arena for each of up to eight threads a core; with
/// 10,000 servers that is half of what the process holds. Elsewhere it does nothing. To be called before threads start.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(
        unsafe_code,
        reason = "mallopt has no safe form; these calls only set numbers, before any thread starts"
    )]
    // SAFETY: mallopt(3) takes two integers and touches no memory of ours.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 * 1024);
        libc::mallopt(libc::M_ARENA_MAX, 4);
    }
}

/// Gives back to the system every page that nothing is on. Otherwise what a burst took stays with the process, as long as
/// anything lies behind it. It takes a millisecond or so for 100 MB. Elsewhere than on glibc it does nothing.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(
        unsafe_code,
        reason = "malloc_trim has no safe form; it may be called at any time, from any thread"
    )]
    // SAFETY: malloc_trim(3) takes the allocator's own locks and changes no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
