"""Pure values and functions: documents, grammars and plans. Nothing here touches the world."""
