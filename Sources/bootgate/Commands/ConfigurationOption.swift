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
        do throws(ConfigurationRefusal) {
            return try ConfigurationFile.read(self.path)
        } catch {
            throw Self.exit(error)
        }
    }

    /// Reads the file as the gateway does, secrets included. Mistakes and warnings are said on standard error.
    func prepare() throws -> PreparedConfiguration {
        do throws(ConfigurationRefusal) {
            let prepared = try PreparedConfiguration.read(self.path)
            for warning in prepared.warnings { Terminal.complain(warning) }
            return prepared
        } catch {
            throw Self.exit(error)
        }
    }

    private static func exit(_ refusal: ConfigurationRefusal) -> ExitCode {
        for line in refusal.warnings + refusal.mistakes { Terminal.complain(line) }
        return ExitCode(refusal.status.rawValue)
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
