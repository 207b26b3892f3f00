internal import Synchronization

/// Who may read what, as the configuration says at the moment.
package final class AdminAccess: Sendable {
    private let settings: Mutex<AdminSettings>

    package init(_ settings: AdminSettings) { self.settings = Mutex(settings) }

    /// From the next request on these tokens count. Addresses stay as they are.
    package func set(_ settings: AdminSettings) { self.settings.withLock { $0 = settings } }

    var current: AdminSettings { self.settings.withLock { $0 } }
}
