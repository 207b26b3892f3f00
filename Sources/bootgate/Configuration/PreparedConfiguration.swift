internal import Admin
internal import Foundation
internal import Gateway
internal import Publishing
internal import Records

/// The configuration as the gateway runs with it: read and checked, with the secrets that it names. `serve`, `check` and a
/// reload see the same, because all of them come by here.
struct PreparedConfiguration {
    /// With the keys of fixed pairs.
    let configuration: BootgateConfiguration
    let records: RecordsConfiguration
    let admin: AdminSettings
    /// To be closed; nil when no server is told keys.
    let publisher: HTTPPublisher?
    /// What is risky, one line each: of the file first, then of where its secrets lie.
    let warnings: [String]

    /// Reads `path`. Opens no store and makes no file.
    static func read(_ path: String) throws(ConfigurationRefusal) -> PreparedConfiguration {
        let reading = try ConfigurationFile.read(path)
        guard var configuration = reading.configuration else {
            let mistakes = reading.diagnostics.filter { $0.severity == .mistake }
            throw ConfigurationRefusal(
                .badConfiguration, mistakes.map { $0.line(file: path) },
                warnings: reading.diagnostics.filter { $0.severity == .warning }.map { $0.line(file: path) })
        }
        var warnings = reading.diagnostics.map { $0.line(file: path) }
        if let obstacle = configuration.dtlsObstacle {
            throw ConfigurationRefusal(.unavailable, ["bootgate: \(obstacle)"], warnings: warnings)
        }
        do {
            let records = try configuration.recordsConfiguration()
            warnings += try configuration.readUpstreamKeys().map { "warning: \($0)" }
            let admin = try configuration.adminSettings()
            return PreparedConfiguration(
                configuration: configuration, records: records, admin: admin,
                publisher: try configuration.publisher(), warnings: warnings)
        } catch let error as RecordsError {
            throw ConfigurationRefusal(ExitStatus(error.kind), ["bootgate: \(error)"], warnings: warnings)
        } catch {
            throw ConfigurationRefusal(.badConfiguration, ["bootgate: \(error)"], warnings: warnings)
        }
    }
}

/// Why a configuration cannot be used.
struct ConfigurationRefusal: Error {
    let status: ExitStatus
    /// One line for each mistake, as commands print it: `FILE:LINE:COLUMN: …`, or `bootgate: …` for what has no place.
    let mistakes: [String]
    /// What else there is to say of the file.
    let warnings: [String]

    init(_ status: ExitStatus, _ mistakes: [String], warnings: [String] = []) {
        self.status = status
        self.mistakes = mistakes
        self.warnings = warnings
    }
}

/// The file itself.
enum ConfigurationFile {
    static func read(_ path: String) throws(ConfigurationRefusal) -> ConfigurationReader.Reading {
        let url = URL(fileURLWithPath: path)
        do {
            let text = try String(contentsOf: url, encoding: .utf8)
            return ConfigurationReader.read(text, folder: url.deletingLastPathComponent().path)
        } catch {
            let reason =
                if !FileManager.default.fileExists(atPath: url.path) {
                    "there is no such file"
                } else if !FileManager.default.isReadableFile(atPath: url.path) {
                    "this user may not read it"
                } else {
                    "it is no text in UTF-8"
                }
            throw ConfigurationRefusal(
                .badConfiguration,
                ["bootgate: cannot read the configuration \(path): \(reason); name another with --config"])
        }
    }
}
