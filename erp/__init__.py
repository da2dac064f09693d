"""The executable: settings, composition, command line, embedded servers; the one package that imports all."""
