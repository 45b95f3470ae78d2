"""MetaCompress Studio: `python app.py` opens the page. See `app.launch`."""

from app.launch import main

if __name__ == "__main__":
    main()
