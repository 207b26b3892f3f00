internal import Glibc
internal import NIOCore

/// The keep-alive of the service manager (`WatchdogSec=`): sent only after a hop to the event loop of the data path and
/// back. A loop that stands still is a gateway that serves nobody, and is started anew.
enum Watchdog {
    /// How often the service manager wants to hear, by the variables that it sets; nil: never.
    static func interval(microseconds: String?, process: String?, own: Int32) -> Duration? {
        guard let microseconds = microseconds.flatMap({ Int64($0) }), microseconds > 0 else { return nil }
        // Meant for the process that was started, not for a child that has inherited the variables.
        if let process, Int32(process) != own { return nil }
        return .microseconds(microseconds)
    }

    static var interval: Duration? {
        func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
        return self.interval(
            microseconds: variable("WATCHDOG_USEC"), process: variable("WATCHDOG_PID"), own: getpid()
        )
    }

    /// Until the task is cancelled: twice in each interval, as the service manager's manual advises.
    static func run(
        every interval: Duration, loop: any EventLoop,
        notify: @Sendable (String) -> Void = { ServiceManager.notify($0) }
    ) async {
        while !Task.isCancelled {
            guard (try? await loop.submit {}.get()) != nil else { return }
            notify("WATCHDOG=1")
            try? await Task.sleep(for: interval / 2)
        }
    }
}
