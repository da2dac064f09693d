"""The executable: settings, composition, command line and embedded servers. The only package that imports all."""
