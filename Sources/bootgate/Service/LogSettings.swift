internal import Logging
internal import Synchronization

/// Level and format of the log, which a reload changes for all loggers at once.
final class LogSettings: Sendable {
    private let level: Atomic<Int>
    private let isJSON: Atomic<Bool>

    init(_ log: BootgateConfiguration.Log) {
        self.level = Atomic(Self.number(log.level))
        self.isJSON = Atomic(log.format == .json)
    }

    func set(_ log: BootgateConfiguration.Log) {
        self.level.store(Self.number(log.level), ordering: .relaxed)
        self.isJSON.store(log.format == .json, ordering: .relaxed)
    }

    var current: Logger.Level { Logger.Level.allCases[self.level.load(ordering: .relaxed)] }

    var format: BootgateConfiguration.Log.Format { self.isJSON.load(ordering: .relaxed) ? .json : .text }

    private static func number(_ level: BootgateConfiguration.Log.Level) -> Int {
        Logger.Level.allCases.firstIndex { $0.rawValue == level.rawValue } ?? 2
    }
}
