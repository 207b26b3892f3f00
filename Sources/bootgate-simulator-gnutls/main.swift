internal import Simulator

SimulatorCommand.start()
