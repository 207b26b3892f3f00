internal import Glibc

/// Where sessions wait from a clean stop to the next start.
enum RuntimeDirectory: Equatable {
    case directory(String)
    /// There is none, and hand-over is off.
    case none

    /// Where packages and the unit of `deploy` have it.
    static let usual = "/run/bootgate"

    /// Said once at start and by `check`.
    static let absence =
        "no runtime directory, so sessions end with a restart and devices shake hands again; set `runtime` to a folder "
        + "below /run that only the gateway can read, or RuntimeDirectory=bootgate in its unit"
}

extension BootgateConfiguration {
    /// `runtime`, or what the service manager has made, or the usual place if it is there and ours.
    func runtimeDirectory(
        environment: String? = getenv("RUNTIME_DIRECTORY").map { String(cString: $0) },
        isWritable: (String) -> Bool = { access($0, W_OK | X_OK) == 0 }
    ) -> RuntimeDirectory {
        if let runtime { return .directory(runtime) }
        // Several are separated by colons; ours is the first.
        if let first = environment?.split(separator: ":").first, first.hasPrefix("/") {
            return .directory(String(first))
        }
        return isWritable(RuntimeDirectory.usual) ? .directory(RuntimeDirectory.usual) : .none
    }
}
