internal import Dispatch
internal import Glibc

/// A counting semaphore whose time limits know nothing of the wall clock.
///
/// The one of Dispatch waits by the wall clock on Linux: a clock that is set back by a day while it waits makes it wait
/// for a day.
final class MonotonicSemaphore: Sendable {
    // The pointers never change. `count` is touched under the mutex alone; the other two are made for all threads.
    private nonisolated(unsafe) let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private nonisolated(unsafe) let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private nonisolated(unsafe) let count = UnsafeMutablePointer<Int>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(self.mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(self.condition, &attributes)
        pthread_condattr_destroy(&attributes)
        self.count.initialize(to: 0)
    }

    deinit {
        pthread_cond_destroy(self.condition)
        pthread_mutex_destroy(self.mutex)
        self.condition.deallocate()
        self.mutex.deallocate()
        self.count.deallocate()
    }

    /// Lets one wait return, now or later.
    func signal() {
        pthread_mutex_lock(self.mutex)
        self.count.pointee += 1
        pthread_mutex_unlock(self.mutex)
        // Behind the lock, or whoever wakes would wait for it at once.
        pthread_cond_signal(self.condition)
    }

    /// Returns with the next signal, or when `limit` has come.
    func wait(until limit: DispatchTime = .distantFuture) {
        // What Dispatch calls uptime is the monotonic clock.
        var time = timespec()
        time.tv_sec = Int(clamping: limit.uptimeNanoseconds / 1_000_000_000)
        time.tv_nsec = Int(limit.uptimeNanoseconds % 1_000_000_000)
        pthread_mutex_lock(self.mutex)
        defer { pthread_mutex_unlock(self.mutex) }
        while self.count.pointee == 0 {
            guard limit == .distantFuture else {
                if pthread_cond_timedwait(self.condition, self.mutex, &time) == ETIMEDOUT { return }
                continue
            }
            pthread_cond_wait(self.condition, self.mutex)
        }
        self.count.pointee -= 1
    }
}
