import Logging
import NIOConcurrencyHelpers

/// The metadata of everything that is logged, in order.
struct KeptLog {
    private struct Handler: LogHandler {
        let entries: NIOLockedValueBox<[Logger.Metadata]>
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { self.metadata[key] }
            set { self.metadata[key] = newValue }
        }

        func log(event: LogEvent) { self.entries.withLockedValue { $0.append(event.metadata ?? [:]) } }
    }

    private let kept = NIOLockedValueBox<[Logger.Metadata]>([])

    var logger: Logger { Logger(label: "test") { [kept] _ in Handler(entries: kept) } }
    var entries: [Logger.Metadata] { self.kept.withLockedValue { $0 } }

    /// What was logged since the last call.
    func taken() -> [Logger.Metadata] {
        self.kept.withLockedValue { entries in
            defer { entries = [] }
            return entries
        }
    }
}
