/// One immutable value for many owners: each holds a reference, and copying an owner does not copy the value.
package final class Shared<Value: Sendable>: Sendable {
    package let value: Value

    package init(_ value: Value) { self.value = value }
}
