internal import Foundation
internal import Gateway
internal import Logging

/// Writes each log entry as one line to standard error: JSON for collectors, or text for people.
struct LineLogHandler: LogHandler {
    let label: String
    let format: BootgateConfiguration.Log.Format
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    init(label: String, format: BootgateConfiguration.Log.Format) {
        self.label = label
        self.format = format
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
        switch self.format {
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
