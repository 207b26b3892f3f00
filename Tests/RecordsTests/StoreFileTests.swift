import GRDB
import Testing

@testable import Records

@Suite("What errors mean for a store")
struct StoreFileTests {
    @Test("A damaged file is at fault itself, and the message names it and what to do", arguments: [true, false])
    func damaged(isDatabase: Bool) {
        let error = DatabaseError(resultCode: isDatabase ? .SQLITE_CORRUPT_VTAB : .SQLITE_NOTADB)
        #expect(StoreFile.isAtFault(error))
        let explained = StoreFile(path: "/state/sims.db", busyTimeout: .zero).explain(error)
        #expect(explained.kind == .damaged && explained.what.contains("/state/sims.db"))
        #expect(explained.remedy.contains("backup") && explained.remedy.contains("/state/sims.db"))
    }

    @Test("What was asked of a file is not the file's fault")
    func asked() {
        #expect(!StoreFile.isAtFault(DatabaseError(resultCode: .SQLITE_CONSTRAINT)))
    }
}
