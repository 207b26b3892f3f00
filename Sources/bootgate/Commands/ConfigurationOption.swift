internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import Logging
internal import Records

/// `--config`, for every command that needs the configuration, the stores or the journal.
struct ConfigurationOption: ParsableArguments {
    @Option(name: .customLong("config"), help: ArgumentHelp("The configuration.", valueName: "file"))
    var path = "/etc/bootgate/bootgate.yaml"

    /// Reads the file; mistakes are said as `FILE:LINE:COLUMN: …` and end the command with 78. Warnings are said where
    /// `showsWarnings` asks for them.
    func load(showsWarnings: Bool = false) throws -> BootgateConfiguration {
        let reading = try self.read()
        for diagnostic in reading.diagnostics where diagnostic.severity == .mistake || showsWarnings {
            Terminal.complain(diagnostic.line(file: self.path))
        }
        guard let configuration = reading.configuration else {
            throw ExitCode(ExitStatus.badConfiguration.rawValue)
        }
        return configuration
    }

    func read() throws -> ConfigurationReader.Reading {
        let url = URL(fileURLWithPath: self.path)
        let text: String
        do {
            text = try String(contentsOf: url, encoding: .utf8)
        } catch {
            let reason =
                if !FileManager.default.fileExists(atPath: url.path) {
                    "there is no such file"
                } else if !FileManager.default.isReadableFile(atPath: url.path) {
                    "this user may not read it"
                } else {
                    "it is no text in UTF-8"
                }
            throw fail(
                .badConfiguration, "cannot read the configuration \(self.path): \(reason); name another with --config"
            )
        }
        return ConfigurationReader.read(text, folder: url.deletingLastPathComponent().path)
    }

    /// Opens the stores for one command.
    func openRecords() throws -> Records {
        let configuration = try self.load()
        return try reporting { try Records(configuration.recordsConfiguration(), logger: .quiet) }
    }
}

extension BootgateConfiguration {
    func recordsConfiguration() throws(RecordsError) -> RecordsConfiguration {
        var records = RecordsConfiguration(state: self.state, key: self.records.key)
        records.identity = try NamePattern(self.records.identityPattern)
        records.endpoint = try NamePattern(self.records.endpointPattern)
        records.lifetimes.useWithin = self.gateway.credentials.useWithin
        records.lifetimes.overlap = self.gateway.credentials.overlap
        records.lifetimes.maximumAge = self.gateway.credentials.maximumAge
        return records
    }
}

extension Logger {
    /// For commands: what matters comes as an error.
    static let quiet = Logger(label: "bootgate") { _ in SwiftLogNoOpLogHandler() }
}

/// Who made a change, for the journal.
var actor: String { "cli:\(NSUserName())" }
