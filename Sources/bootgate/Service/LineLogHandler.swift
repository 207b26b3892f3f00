internal import Foundation
internal import Gateway
internal import Logging

/// Writes each log entry as one line to standard error: JSON for collectors, or text for people.
struct LineLogHandler: LogHandler {
    let label: String
    let settings: LogSettings
    var metadata: Logger.Metadata = [:]
    /// Of this logger alone; nil: as the settings say.
    private var ownLevel: Logger.Level?

    var logLevel: Logger.Level {
        get { self.ownLevel ?? self.settings.current }
        set { self.ownLevel = newValue }
    }

    init(label: String, settings: LogSettings) {
        self.label = label
        self.settings = settings
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields = self.metadata
        fields.merge(event.metadata ?? [:]) { _, new in new }
        let time = Date(timeIntervalSince1970: Double(WallClock.microseconds()) / 1_000_000)
            .ISO8601Format(.init(includingFractionalSeconds: true))
        switch self.settings.format {
        case .json:
            var object: [String: Any] = fields.mapValues { $0.description }
            object["time"] = time
            object["level"] = event.level.rawValue
            object["message"] = event.message.description
            Terminal.complain(JSONText.line(object))
        case .text:
            let rest = fields.sorted { $0.key < $1.key }.map {
                " \($0.key)=\(Terminal.printable($0.value.description))"
            }
            Terminal.complain("\(time) \(event.level.rawValue) \(event.message)\(rest.joined())")
        }
    }
}
