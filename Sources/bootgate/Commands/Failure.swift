internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import Publishing
internal import Records

/// The exit codes of the command, as `sysexits.h` names them.
enum ExitStatus: Int32 {
    case badData = 65
    case unavailable = 69
    case `internal` = 70
    case cannotWrite = 73
    case notPermitted = 77
    case badConfiguration = 78

    init(_ kind: RecordsError.Kind) {
        self =
            switch kind {
            case .badData, .notFound, .conflict, .damaged: .badData
            case .unavailable, .inUse, .newerSchema: .unavailable
            case .cannotWrite: .cannotWrite
            case .notPermitted: .notPermitted
            case .wrongKey, .configuration: .badConfiguration
            case .internal: .internal
            }
    }
}

/// Says on standard error why the command cannot go on, and ends it.
func fail(_ status: ExitStatus, _ message: String) -> ExitCode {
    Terminal.complain("bootgate: \(message)")
    return ExitCode(status.rawValue)
}

/// Runs the body of a command; what the stores refuse becomes a line and an exit code.
func reporting<R>(_ body: () throws -> R) throws -> R {
    do {
        return try body()
    } catch let error as RecordsError {
        throw fail(ExitStatus(error.kind), error.description)
    } catch let error as PublicationSetupError {
        throw fail(.badConfiguration, error.description)
    }
}

func reporting<R>(_ body: () async throws -> R) async throws -> R {
    do {
        return try await body()
    } catch let error as RecordsError {
        throw fail(ExitStatus(error.kind), error.description)
    } catch let error as PublicationSetupError {
        throw fail(.badConfiguration, error.description)
    }
}
